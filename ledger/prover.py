"""Making a light proof: the state's tree, taken back from the head to the block after which a record is shown.

Source: docs/protocol.md, section 14.
"""

from __future__ import annotations

from ledger.chain import Chain
from ledger.lightproof import LightProof
from ledger.params import ChainParams
from ledger.records import job_key
from ledger.state import Changes, leaf_key, tree_changes


def newest_place(height: int, params: ChainParams) -> int:
    """Return the last height up to `height` that is a heartbeat's: what its header says is covered by its run; or 0."""
    return height - height % params.heartbeat_every


class Prover:
    """The chain as it was when this was made, and its state, which goes back block by block. Costs an undo a block.

    Later blocks change nothing here; one that is not on the main chain any more cannot be taken back: DamagedData.
    """

    def __init__(self, chain: Chain, job_id: bytes) -> None:
        self.hashes: tuple[bytes, ...] = tuple(chain.index.main)
        self.height = chain.head.height  # the state is that after this block
        self._genesis = chain.genesis
        self._job_id, self._key = job_id, job_key(job_id)
        self._tree = chain.state.copy_tree()
        self._record = chain.state.get(self._key)

    def take_back(self, chain: Chain, height: int, blocks: int) -> bool:
        """Go back to the state after a height, by at most so many blocks; return whether it is there."""
        for _ in range(min(blocks, self.height - height)):
            self._apply(self._load_changes(chain))
        return self.height <= height

    def take_back_unchanged(self, chain: Chain, blocks: int) -> bool:
        """Go back to where the record became what it is, by at most so many blocks; return whether it is there."""
        for _ in range(blocks):
            if self.height == 0:  # the job stood in genesis' state, or never did
                return True
            changes = self._load_changes(chain)
            if self._key in changes:
                return True
            self._apply(changes)
        return False

    def make_proof(self) -> LightProof | None:
        """Return the proof without its headers, those of `hashes` after genesis; None if the job was not there yet.

        The header after `height` must be among them.
        """
        count = len(self.hashes) - 1
        if self.height >= count:
            raise ValueError(f"a state after block 0..{count - 1} expected, it is that after {self.height}")
        if self._record is None:
            return None
        path = self._tree.prove(leaf_key(self._key)).siblings
        return LightProof(self._genesis, self._job_id, self._record, self.height + 1, path, count)

    def _load_changes(self, chain: Chain) -> Changes:
        return chain.load_changes(self.hashes[self.height])

    def _apply(self, changes: Changes) -> None:
        self._tree.update(tree_changes(changes))
        self._record = changes.get(self._key, self._record)
        self.height -= 1
