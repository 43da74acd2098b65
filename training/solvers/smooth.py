"""What a second-order solver reads: a smooth loss of one flat float64 vector, with its derivatives by formula."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


class SmoothLoss(Protocol):
    """A loss with two derivatives. Points and directions are flat [p] float64; nothing is kept between calls that a
    caller must know of, though an implementation may keep what it computed at the last point."""

    @property
    def size(self) -> int:
        """p, how many parameters there are."""

    def measure(self, x: Tensor) -> float:
        """The loss; inf outside of the domain, where no derivative may be asked for."""

    def differentiate(self, x: Tensor) -> Tensor:
        """The gradient [p]."""

    def multiply(self, x: Tensor, v: Tensor) -> Tensor:
        """The Hessian at x times v [p]."""

    def make_hessian(self, x: Tensor) -> Tensor:
        """The Hessian [p, p]; symmetric."""


@runtime_checkable
class CanCollapse(Protocol):
    """A loss that can fall all the way to a point that says nothing, at infinity or not: that is no success."""

    def has_collapsed(self, start: Tensor, x: Tensor) -> bool:
        """Whether a descent from `start` has gone that way when it is at `x`, both [p] within the domain."""
