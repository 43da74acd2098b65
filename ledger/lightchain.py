"""A chain of headers without state or bodies: what they alone show, and the heartbeat work in them.

A job's ticket cannot be replayed without its data, so its header costs a forger hashes only and counts nothing.
Source: docs/protocol.md, section 14.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ledger.blocks import HEARTBEAT, Header
from ledger.difficulty import block_work
from ledger.errors import InvalidHeader
from ledger.genesis import Genesis
from ledger.headers import check_follows
from ledger.index import Entry, genesis_entry
from ledger.lightproof import FalseProof, LightProof
from ledger.params import ChainParams
from ledger.tickets import check_claim_without_state
from ledger.transition import genesis_state


class LightChain:
    """Headers from genesis on, each checked as it comes; `tip` is the last. Heartbeats are not replayed here.

    `heartbeats` counts them, `work` is their chain work.
    """

    def __init__(self, genesis: Genesis, heartbeat_work: int) -> None:
        self.params: ChainParams = genesis.params
        self.tip: Entry = genesis_entry(genesis.chain_id)
        self.heartbeats = 0
        self.work = 0
        self._genesis = genesis
        self._heartbeat_work = heartbeat_work

    def add(self, header: Header) -> None:
        """Take the next header; InvalidHeader if it breaks a rule that headers show."""
        work = header.work
        if work.parent != self.tip.hash:
            raise InvalidHeader(f"parent: expected {self.tip.hash.hex()}, got {work.parent.hex()}")
        check_follows(header, self.tip, self.params)
        if work.height == 1:
            self._check_first(header)
        check_claim_without_state(header, self._heartbeat_work, self.params)
        if work.job_id == HEARTBEAT:
            self.heartbeats += 1
            self.work += block_work(work.target)
        self.tip = self.tip.follow(header)

    def _check_first(self, header: Header) -> None:
        root = genesis_state(self._genesis).root
        if header.work.state_root != root:
            raise InvalidHeader(
                f"state root: expected {root.hex()} after genesis, got {header.work.state_root.hex()}"
            )


@dataclass(frozen=True, slots=True)
class Shown:
    """What the headers of a proof show if their heartbeats replay: `work` of all of those, `cover` from `place` on."""

    head: Entry
    heartbeats: int
    work: int
    cover_heartbeats: int
    cover: int


def check_proof(
    proof: LightProof, headers: Iterable[Header], heartbeat_work: int, visit: Callable[[Header], None]
) -> Shown:
    """Check a proof but for its replays; `visit` gets every header once it is checked, and may refuse it.

    InvalidHeader names the height; FalseProof if the record does not stand where it is said to, or is not covered.
    """
    chain = LightChain(proof.genesis, heartbeat_work)
    state_root, below = b"", (0, 0)
    for height, header in enumerate(headers, 1):
        if height == proof.place:
            state_root, below = header.work.state_root, (chain.heartbeats, chain.work)
        try:
            chain.add(header)
            visit(header)
        except InvalidHeader as error:
            raise InvalidHeader(f"height {height}: {error}") from error
    proof.check_record(state_root)
    covered = chain.heartbeats - below[0]
    if not covered:
        raise FalseProof(f"no heartbeat at height {proof.place} or later covers the record")
    return Shown(chain.tip, chain.heartbeats, chain.work, covered, chain.work - below[1])
