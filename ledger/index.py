"""The tree of known headers, in memory: heights, cumulative work, ancestors. Source: docs/protocol.md, section 8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ledger.blocks import HEARTBEAT, Header
from ledger.difficulty import ANCHOR_HEIGHT, block_work


@dataclass(slots=True)
class Entry:
    """A known block. `anchor_time_ms` is the time of its branch's anchor block, its own before there is one.

    `size_bytes` is that of the whole block where it is kept; entries are the same without.
    """

    hash: bytes
    parent: bytes
    height: int
    time_ms: int
    chain_work: int
    anchor_time_ms: int
    is_heartbeat: bool = False
    size_bytes: int = field(default=0, compare=False)
    invalid: bool = False

    def follow(self, header: Header, size_bytes: int = 0) -> Entry:
        """Return the entry of a child of this block."""
        work = header.work
        return Entry(
            hash=header.hash,
            parent=self.hash,
            height=work.height,
            time_ms=work.time_ms,
            chain_work=self.chain_work + block_work(work.target),
            anchor_time_ms=self.anchor_time_ms if self.height >= ANCHOR_HEIGHT else work.time_ms,
            is_heartbeat=work.job_id == HEARTBEAT,
            size_bytes=size_bytes,
        )


def genesis_entry(genesis_hash: bytes) -> Entry:
    """Return the entry of genesis: no parent, no time, no work."""
    return Entry(genesis_hash, b"", 0, 0, 0, 0)


class BlockIndex:
    """Entries by hash, and the main chain's hashes by height; `side_bytes` is what all others take."""

    def __init__(self, genesis_hash: bytes) -> None:
        self.genesis = genesis_entry(genesis_hash)
        self._entries = {genesis_hash: self.genesis}
        self.main = [genesis_hash]
        self.side_bytes = 0

    @property
    def head(self) -> Entry:
        return self._entries[self.main[-1]]

    def get(self, block_hash: bytes) -> Entry | None:
        return self._entries.get(block_hash)

    def __getitem__(self, block_hash: bytes) -> Entry:
        return self._entries[block_hash]

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def side_count(self) -> int:
        """How many blocks are not on the main chain."""
        return len(self._entries) - len(self.main)

    def add(self, header: Header, invalid: bool = False, size_bytes: int = 0) -> Entry:
        """Add a block whose parent is known, off the main chain; a child of an invalid block is invalid."""
        parent = self._entries[header.work.parent]
        entry = parent.follow(header, size_bytes)
        entry.invalid = invalid or parent.invalid
        self._entries[entry.hash] = entry
        self.side_bytes += size_bytes
        return entry

    def remove(self, block_hash: bytes) -> None:
        """Forget a block off the main chain."""
        self.side_bytes -= self._entries.pop(block_hash).size_bytes

    def set_main(self, hashes: Iterable[bytes]) -> None:
        """Make these the main chain, from genesis on."""
        self.main = list(hashes)
        self.side_bytes = sum(entry.size_bytes for entry in self.side_entries())

    def extend_main(self, block_hash: bytes) -> None:
        """Make a child of the head the head."""
        self.main.append(block_hash)
        self.side_bytes -= self._entries[block_hash].size_bytes

    def shorten_main(self) -> None:
        """Make the head's parent the head."""
        self.side_bytes += self._entries[self.main.pop()].size_bytes

    def on_main(self, entry: Entry) -> bool:
        return entry.height < len(self.main) and self.main[entry.height] == entry.hash

    def ancestors(self, entry: Entry) -> Iterator[Entry]:
        """Yield the entry, its parent, and so on down to genesis."""
        while True:
            yield entry
            if not entry.parent:
                return
            entry = self._entries[entry.parent]

    def path_from_main(self, tip: Entry) -> tuple[Entry, list[Entry]]:
        """Return the main-chain block a branch leaves from, and the branch, oldest first."""
        branch: list[Entry] = []
        for entry in self.ancestors(tip):
            if self.on_main(entry):
                return entry, branch[::-1]
            branch.append(entry)
        raise AssertionError("every branch leaves from genesis at the latest")

    def entries(self) -> Iterator[Entry]:
        """Yield all known blocks, parents before children."""
        return iter(self._entries.values())

    def side_entries(self) -> list[Entry]:
        """Return the blocks that are not on the main chain, parents before children."""
        return [entry for entry in self._entries.values() if not self.on_main(entry)]

    def with_descendants(self, block_hash: bytes) -> list[Entry]:
        """Return a block that is off the main chain and all its descendants, parents before children."""
        family = {block_hash: self._entries[block_hash]}
        for entry in self._entries.values():
            if entry.parent in family:
                family[entry.hash] = entry
        return list(family.values())

    def locator(self) -> list[bytes]:
        """Return main-chain hashes from the head back, ever sparser, ending with genesis."""
        height, step, hashes = len(self.main) - 1, 1, []
        while height > 0:
            hashes.append(self.main[height])
            if len(hashes) >= 10:
                step *= 2
            height -= step
        return [*hashes, self.main[0]]
