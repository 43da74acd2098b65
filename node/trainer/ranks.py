"""Places in a group of trainers, as environment variables: those of torchrun, and where a group of one node meets.

https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.group import Place

MEETING = "GRADIENTCOIN_TRAINERS_MEETING"  # a file; without it a group meets as torchrun says
MEETING_FILES = "trainers-*.meeting"
INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


def make_environments(count: int, folder: Path) -> list[dict[str, str]]:
    """The variables of each of `count` ranks on this machine, which meet through a new file in a folder.

    They talk over loopback only: nobody on the network is to join them.
    """
    if count == 1:
        return [{}]
    for old in folder.glob(MEETING_FILES):
        old.unlink(missing_ok=True)
    shared = {
        MEETING: str(folder / MEETING_FILES.replace("*", secrets.token_hex(8))),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
    }
    if loopback := find_loopback():
        shared |= dict.fromkeys(INTERFACES, loopback)
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def find_loopback() -> str:
    """The loopback's name: lo on Linux, lo0 on a Mac; empty if there is none."""
    return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "")


def read_place(environment: Mapping[str, str]) -> Place | None:
    """This process' place; None without a group. ValueError for variables that are no numbers."""
    if "WORLD_SIZE" not in environment or "RANK" not in environment:
        return None
    from training.group import Place

    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    return Place(
        rank=rank,
        size=size,
        local_rank=int(environment.get("LOCAL_RANK", "0")),
        local_size=int(environment.get("LOCAL_WORLD_SIZE", "1")),
        meeting=environment.get(MEETING, ""),
    )
