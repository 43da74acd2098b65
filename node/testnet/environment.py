"""The environment of a network's nodes: one thread each, and none of the user's settings for single nodes."""

import os
import sys
from pathlib import Path

from node.threads import VARIABLES

# They would win over each node's own config.toml.
NODE_VARIABLES = tuple(
    f"GRADIENTCOIN_{key}"
    for key in ("CHAIN", "CHAIN_SEED", "NAME", "LISTEN", "API_PORT", "BOOTSTRAP", "MINE", "DATA_DIR")
)


def node_environment() -> dict[str, str]:
    """This process's environment, changed for a node that shares the machine with others."""
    environment = {key: value for key, value in os.environ.items() if key not in NODE_VARIABLES}
    for name in VARIABLES:
        environment.setdefault(name, "1")
    environment["PYTHONUNBUFFERED"] = "1"
    return add_kernel_cache(environment)


def has_kernels() -> bool:
    """Whether the exact kernels of these sources were compiled before, where nodes look for them."""
    from training.exact.fused.cache import is_compiled  # not what a command line loads at its start

    return is_compiled(node_environment().get("NUMBA_CACHE_DIR"))


def add_kernel_cache(environment: dict[str, str]) -> dict[str, str]:
    """Point numba to the kernels the set-up compiled, if any: compiling them in four nodes takes a minute."""
    cache = Path(sys.prefix, "numba-cache")
    if "NUMBA_CACHE_DIR" not in environment and cache.is_dir():
        environment["NUMBA_CACHE_DIR"] = str(cache)
    return environment
