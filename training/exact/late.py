"""torch, imported at its first use: `from training.exact.late import torch`.

The compiled path does without it, which spares every node a second of start-up and 200 MB.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["torch"]

if TYPE_CHECKING:
    import torch
else:

    class _Late:
        """A module that is imported when one of its names is asked for."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, name: str) -> Any:  # Any: whatever the module holds
            value = getattr(import_module(self._name), name)
            setattr(self, name, value)  # from now on found without this detour
            return value

    torch = _Late("torch")
