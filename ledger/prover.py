"""Making a light proof: the state's tree, taken back from the head to the block after which a record is shown.

Source: docs/protocol.md, section 14.
"""

from __future__ import annotations

from ledger.chain import Chain
from ledger.lightproof import LightProof
from ledger.params import ChainParams
from ledger.records import job_key
from ledger.state import leaf_key, tree_changes


def newest_place(height: int, params: ChainParams) -> int:
    """Return the last height up to `height` that is a heartbeat's: what its header says is covered by its run; or 0."""
    return height - height % params.heartbeat_every


class Prover:
    """The chain as it was when this was made, and its state going back block by block to the one before `place`.

    Later blocks change nothing here; a block that is not on the main chain any more cannot be taken back: DamagedData.
    """

    def __init__(self, chain: Chain, job_id: bytes, place: int) -> None:
        if not 1 <= place <= chain.head.height:
            raise ValueError(f"place: expected 1..{chain.head.height}, got {place}")
        self.hashes: tuple[bytes, ...] = tuple(chain.index.main)
        self._genesis = chain.genesis
        self._job_id, self._place = job_id, place
        self._tree = chain.state.copy_tree()
        self._record = chain.state.get(job_key(job_id))
        self._height = chain.head.height

    def take_back(self, chain: Chain, blocks: int) -> bool:
        """Take at most so many blocks back; return whether the state is there."""
        for _ in range(min(blocks, self._height - self._place + 1)):
            changes = chain.load_changes(self.hashes[self._height])
            self._tree.update(tree_changes(changes))
            self._record = changes.get(job_key(self._job_id), self._record)
            self._height -= 1
        return self._height == self._place - 1

    def make_proof(self) -> LightProof | None:
        """Return the proof without its headers, those of `hashes` after genesis; None if the job was not there yet."""
        if self._height != self._place - 1:
            raise ValueError(f"state after block {self._place - 1} expected, it is that after {self._height}")
        if self._record is None:
            return None
        path = self._tree.prove(leaf_key(job_key(self._job_id))).siblings
        count = len(self.hashes) - 1
        return LightProof(self._genesis, self._job_id, self._record, self._place, path, count)
