"""Errors of the ledger: one root, and one class for each thing a caller does differently.

Messages say what was wrong, what was expected and what came.
"""

from collections.abc import Iterable


class LedgerError(Exception):
    """Root of everything the ledger raises on purpose."""


class DecodeError(LedgerError):
    """Bytes or text that are not the canonical form of anything; the only error a decoder raises."""


class InvalidHeader(LedgerError):
    """A header that breaks a rule for ever."""


class InvalidTransaction(LedgerError):
    """A transaction that breaks a rule in the state it was checked against."""


class FalseTrial(InvalidTransaction):
    """A submission whose trial is not what a replay gives: wrong in every state, and it cost us a training run."""


class TooEarly(InvalidTransaction):
    """A transaction that blocks can carry from `height` on, and that may be right then."""

    def __init__(self, height: int, message: str) -> None:
        self.height = height
        super().__init__(message)


class FalseShare(InvalidTransaction):
    """A share whose replay gives something else: wrong in every state, and it cost us a training run."""


class InvalidBlock(LedgerError):
    """A block whose content breaks a rule for ever."""


class DamagedBody(LedgerError):
    """This copy of a body does not belong to its header; another copy may."""


class UnknownParent(LedgerError):
    """The block's parent is not held, so nothing can be said about the block yet."""


class NoRoom(LedgerError):
    """A block off the main chain that is not kept, for want of room: nothing is said about it."""


class StorageFailed(LedgerError):
    """Our own disk failed: nothing is said about a block or a peer, and the node cannot go on."""


class DiskFailed(StorageFailed):
    """A file cannot be written or read: the disk is full, over its quota, read-only, held by another, or failing."""


class DamagedData(StorageFailed):
    """What is on the disk is not what was written there."""


class MissingBlobs(LedgerError):
    """Sidecars of the block are not held; the block is parked until they are."""

    def __init__(self, cids: Iterable[bytes]) -> None:
        self.cids = tuple(cids)
        super().__init__(
            f"{len(self.cids)} blobs are not held, first {self.cids[0].hex() if self.cids else '-'}"
        )
