"""How much is kept off the main chain, and what goes first: the claims of a branch cost nothing until it is replayed.

Policy, not consensus: another node may keep more. What a block must show before it is kept at all is checked by
`ledger.tickets.check_without_state`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ledger.errors import NoRoom
from ledger.index import BlockIndex, Entry

MAX_SIDE_BLOCKS = 4096
MAX_SIDE_BYTES = 64 << 20
# A branch may outgrow the space if it goes on to outweigh the main chain before it is as large as this. Targets follow
# the clock, so a long branch that forks near the head cannot be cheap, and one from far below must be this dense.
MAX_BRANCH_BLOCKS = 1 << 16
MAX_BRANCH_BYTES = 1 << 30


Strength = tuple[bool, int, int]


@dataclass(frozen=True, slots=True)
class Room:
    """So many blocks, of so many bytes together."""

    blocks: int
    size_bytes: int

    def __add__(self, other: Room) -> Room:
        return Room(self.blocks + other.blocks, self.size_bytes + other.size_bytes)

    def __sub__(self, other: Room) -> Room:
        return Room(self.blocks - other.blocks, self.size_bytes - other.size_bytes)

    def fits(self, limit: Room) -> bool:
        return self.blocks <= limit.blocks and self.size_bytes <= limit.size_bytes


def make_room(index: BlockIndex, parent: Entry, size_bytes: int) -> list[Entry]:
    """Return the blocks to drop before a child of `parent` is kept, children first and its ancestors never.

    A branch gets half of the space, its others keep at least their strongest half. NoRoom if the child's branch would
    be larger, and is not on course to outweigh the main chain. One that is, the strongest, counts for nobody else.
    """
    whole, half = _get_space()
    child = Room(1, size_bytes)
    side = Room(index.side_count, index.side_bytes)
    if (side + child).fits(half):
        return []
    fork, branch = index.path_from_main(parent)
    held = measure(branch)
    own = held + child
    if not own.fits(half) and not _is_on_course(index, fork, parent, held):
        raise NoRoom(
            f"a branch from height {fork.height} has {held.blocks} blocks of {held.size_bytes} bytes and work"
            f" {parent.chain_work - fork.chain_work}; the main chain has {index.head.chain_work - fork.chain_work}"
        )
    others = side + child - own
    if (side + child).fits(whole) or others.fits(half):
        return []
    needed = {entry.hash for entry in branch}
    spared = [entry for entry in _find_on_course(index, half) if entry.hash not in needed]
    needed.update(entry.hash for entry in spared)
    return choose_weakest(index, needed, others - measure(spared), half)


def _find_on_course(index: BlockIndex, half: Room) -> list[Entry]:
    """Return the strongest branch if it has outgrown its half on its course: what comes beside it does not cut it."""
    side = index.side_entries()
    own = _measure_strength(index, side)
    fork, branch = index.path_from_main(max(side, key=lambda entry: own[entry.hash]))
    held = measure(branch)
    if held.fits(half) or not _is_on_course(index, fork, branch[-1], held):
        return []
    return branch


def _get_space() -> tuple[Room, Room]:
    return Room(MAX_SIDE_BLOCKS, MAX_SIDE_BYTES), Room(MAX_SIDE_BLOCKS // 2, MAX_SIDE_BYTES // 2)


def measure(entries: Iterable[Entry]) -> Room:
    """Return the room that blocks take."""
    sizes = [entry.size_bytes for entry in entries]
    return Room(len(sizes), sum(sizes))


def _is_on_course(index: BlockIndex, fork: Entry, tip: Entry, held: Room) -> bool:
    """Whether a branch that goes on as it does outweighs the main chain before it is too large.

    One that claims to outweigh it already, and lacks sidecars, may be no larger either.
    """
    needs = max(1, index.head.chain_work - fork.chain_work)
    has = min(needs, tip.chain_work - fork.chain_work)
    return (
        has * MAX_BRANCH_BLOCKS >= needs * held.blocks and has * MAX_BRANCH_BYTES >= needs * held.size_bytes
    )


def choose_weakest(index: BlockIndex, needed: set[bytes], others: Room, limit: Room) -> list[Entry]:
    """Return what to drop of the `others` than those needed until they fit the limit, children first.

    Invalid ones go first, then branches whose heartbeats, which were replayed, have the least work; of equals those
    whose tips claim the least.
    """
    dropped: list[Entry] = []
    for entry in _rank(index):
        if others.fits(limit):
            break
        if entry.hash not in needed:
            dropped.append(entry)
            others -= Room(1, entry.size_bytes)
    return dropped


def _rank(index: BlockIndex) -> list[Entry]:
    """Return all blocks off the main chain, the weakest branch first, children before parents."""
    side = index.side_entries()
    own = _measure_strength(index, side)
    best: dict[bytes, Strength] = {}  # by block: the strongest of it and its descendants
    for entry in reversed(side):
        best[entry.hash] = max(own[entry.hash], best.get(entry.hash, own[entry.hash]))
        best[entry.parent] = max(best[entry.hash], best.get(entry.parent, own[entry.hash]))
    side.reverse()  # children first, and sorting keeps it so: a child's best is at most its parent's
    return sorted(side, key=lambda entry: best[entry.hash])


def _measure_strength(index: BlockIndex, side: Iterable[Entry]) -> dict[bytes, Strength]:
    """Return by block: whether it is valid as far as is known, what was trained up to it, what it claims."""
    trained = _sum_trained(index, side)
    return {entry.hash: (not entry.invalid, trained[entry.hash], entry.chain_work) for entry in side}


def _sum_trained(index: BlockIndex, side: Iterable[Entry]) -> dict[bytes, int]:
    """Return the work of the heartbeats from the main chain up to each block."""
    trained: dict[bytes, int] = {}
    for entry in side:
        own = entry.chain_work - index[entry.parent].chain_work if entry.is_heartbeat else 0
        trained[entry.hash] = trained.get(entry.parent, 0) + own
    return trained
