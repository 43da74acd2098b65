"""Forged header chains: what a node does for one before it bans the sender, counted on the ledger's import path.

A forged header's digest is drawn until its ticket is low enough, which costs a hash a try instead of a training run.
Sync (node/services/sync.py) hands over a peer's blocks one by one and drops the peer at the first InvalidHeader or
InvalidBlock; gossip judges a header on its own. Heartbeats are replayed before they are kept, so the forger says that
its blocks are a job's wherever they may be: those cannot be replayed without the state after their parent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from chain_players import Player
from chainlab import PARAMS, World

from ledger.blocks import HEARTBEAT, VERSION, Block, Header, WorkHeader, sign_header, tx_root_of
from ledger.difficulty import next_target
from ledger.errors import InvalidBlock, InvalidHeader
from ledger.hashing import tagged_hash
from ledger.index import Entry
from ledger.keys import KeyPair
from ledger.sidespace import MAX_BRANCH_BYTES, MAX_SIDE_BYTES
from ledger.slots import is_heartbeat_slot
from ledger.work import TicketTask

LENGTH = 60  # blocks of the honest chain, all the heartbeat's
JOB = tagged_hash("gc/adversary", b"a job that nobody trains")


@dataclass(frozen=True)
class Forgery:
    """What one ban costs both sides. `fork` is how many blocks below the head the forged branch leaves."""

    fork: int
    headers: int  # handed over before the ban
    hashes: int  # that the forger computed
    kept: int  # blocks stored
    replays: int
    seconds: float  # of the node
    replay_s: float  # of one run, for comparison


class Forger:
    """Makes blocks whose tickets are no runs."""

    def __init__(self, world: World, key: KeyPair) -> None:
        self._world, self._key = world, key
        self.hashes = 0

    def forge(self, parent: Entry) -> Block:
        """A child of any known block: as early as it may be, so that its target asks, and counts, for more work."""
        target = next_target(PARAMS, parent.height, parent.time_ms, parent.anchor_time_ms)
        work = WorkHeader(
            version=VERSION, height=parent.height + 1, parent=parent.hash, time_ms=parent.time_ms + 1,
            miner=self._key.public, target=target, job_id=self._choose_job(parent), tx_root=tx_root_of(()),
            tx_count=0, state_root=self._get_root(parent), nonce=0,
        )  # fmt: skip
        limit = target * self._world.verifier.heartbeat_work >> PARAMS.work_unit_bits
        header = Header(work, bytes(32), 2, 1)
        while header.ticket >= limit:
            self.hashes += 1
            header = replace(header, digest=self.hashes.to_bytes(32, "big"))
        return Block(header, sign_header(self._key, self._world.chain.genesis.chain_id, header), ())

    def _choose_job(self, parent: Entry) -> bytes:
        """A job where the node cannot look at the state; a heartbeat where it must be one, and on the head."""
        at_once = parent.hash == self._world.chain.head.hash
        return HEARTBEAT if at_once or is_heartbeat_slot(parent.height + 1, PARAMS) else JOB

    def _get_root(self, parent: Entry) -> bytes:
        """The state root after a block, where the main chain tells it: all else of a forged header is right."""
        chain = self._world.chain
        following = chain.get_main_hash(parent.height + 1) if chain.index.on_main(parent) else None
        block = chain.get_block(following) if following else None
        return block.header.work.state_root if block else chain.state.root


def mine_heartbeats(seed: int, length: int) -> World:
    """A world with a chain of heartbeats."""
    world = World(seed)
    world.players.append(Player(world, world.keys[0], 1.0))
    for _ in range(length):
        world.mine_block(act=False)
    return world


def send_branch(world: World, fork: int) -> Forgery:
    """Let a peer hand over a forged branch until it is found out."""
    chain, forger = world.chain, Forger(world, world.keys[1])
    parent = chain.index[chain.index.main[len(chain.index.main) - 1 - fork]]
    kept_before, replays_before, head = len(chain.index), world.verifier.replays, chain.head.hash
    sent, seconds = 0, 0.0
    while True:
        block = forger.forge(parent)
        sent += 1
        start = time.perf_counter()
        try:
            chain.add_block(block, int(world.clock_ms))
        except (InvalidHeader, InvalidBlock):
            seconds += time.perf_counter() - start
            break
        seconds += time.perf_counter() - start
        parent = chain.index[block.hash]
    assert chain.head.hash == head
    return Forgery(
        fork=fork,
        headers=sent,
        hashes=forger.hashes,
        kept=len(chain.index) - kept_before,
        replays=world.verifier.replays - replays_before,
        seconds=seconds,
        replay_s=time_run(world),
    )


def send_header(world: World) -> int:
    """Let a peer announce a forged header; the replays until it is banned."""
    chain, before = world.chain, world.verifier.replays
    block = Forger(world, world.keys[2]).forge(chain.head)
    try:
        chain.judge_header(block.header, block.signature, int(world.clock_ms))
    except InvalidHeader:
        return world.verifier.replays - before
    raise AssertionError("a forged header was believed")


def time_run(world: World) -> float:
    """Seconds of one heartbeat run that nobody has done."""
    start = time.perf_counter()
    world.verifier.run(TicketTask(world.rng.bytes(32), world.chain.head.hash, None, b""))
    return time.perf_counter() - start


def measure_forgeries(forks: tuple[int, ...] = (0, 12, 52), length: int = LENGTH) -> list[str]:
    """Lines that say what forged headers cost; branches from right after a heartbeat's height are the longest."""
    world = mine_heartbeats(0, length)
    try:
        replays = send_header(world)
        return [
            f"gossip: {replays} replay for a forged header, then its sender is banned",
            *(describe(send_branch(world, fork)) for fork in forks),
            f"however many peers do so, {MAX_SIDE_BYTES >> 20} MiB are kept off the main chain, what nobody trained is"
            f" dropped first; a branch on course to outweigh the main chain may have {MAX_BRANCH_BYTES >> 20} MiB",
        ]
    finally:
        world.close()


def describe(found: Forgery) -> str:
    return (
        f"sync, branch from {found.fork} blocks below the head: {found.headers} forged headers"
        f" for {found.hashes} hashes;"
        f" the node replays {found.replays}, keeps {found.kept} blocks,"
        f" in {1e3 * found.seconds:.0f} ms (a run: {1e3 * found.replay_s:.1f} ms)"
    )
