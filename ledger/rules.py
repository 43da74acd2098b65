"""What the rules of one chain look at beside the state: its parameters, and where bytes and work come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ledger.params import ChainParams
from ledger.state import Overlay
from ledger.work import WorkVerifier


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A block that what is checked builds on: what the rules of its children look at."""

    height: int
    time_ms: int
    anchor_time_ms: int  # of the branch's anchor block
    state: Overlay  # after the block


@dataclass(frozen=True, slots=True)
class Rules:
    """What does not change from block to block, and where bytes that are not in the state come from."""

    chain_id: bytes
    params: ChainParams
    verifier: WorkVerifier
    load_weights: Callable[[bytes], bytes]  # by CID
    load_delta: Callable[[bytes], bytes]  # by ticket seed
    find_ancestor: Callable[
        [bytes], Ancestor | None
    ]  # by hash; None if it is not one, or too old for a share
