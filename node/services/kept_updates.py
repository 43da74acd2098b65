"""Updates between commit and settlement, on the disk: a node that was killed still reveals what it committed to.

A file for each, written before its commitment is sent: who loses the salt loses the bond. Source: section 7.1 of
docs/protocol.md.
"""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from ledger.codec import decode, encode
from ledger.commitments import make_commitment
from ledger.errors import DecodeError
from ledger.hashing import HASH_BYTES, cid_of
from ledger.privacy import PrivacyRecord, read_privacy
from ledger.transactions import CommitUpdate, RevealUpdate
from node.datadir import write_private

log = logging.getLogger(__name__)

FOLDER = "updates"
MAX_KEPT = 64
MAX_PRIVACY_BYTES = 256


@dataclass(frozen=True, slots=True)
class KeptUpdate:
    """An update of ours that is not settled yet."""

    miner: bytes  # public key
    job_id: bytes
    round: int
    salt: bytes
    payload: bytes
    privacy: PrivacyRecord | None = None

    @property
    def payload_cid(self) -> bytes:
        return cid_of(self.payload)

    @property
    def commitment(self) -> bytes:
        return make_commitment(self.miner, self.job_id, self.round, self.payload_cid, self.salt)

    def make_commit(self, shares: tuple[bytes, ...]) -> CommitUpdate:
        return CommitUpdate(self.job_id, self.round, self.commitment, len(self.payload), shares)

    def make_reveal(self) -> RevealUpdate:
        size = len(self.payload)
        return RevealUpdate(self.job_id, self.round, self.payload_cid, size, self.salt, self.privacy)


class KeptUpdates:
    """The updates of a data directory, by commitment. Reads and writes the disk: not for the event loop."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER
        self._updates = {update.commitment: update for update in self._load()}

    def get_all(self) -> list[KeptUpdate]:
        return list(self._updates.values())

    def add(self, update: KeptUpdate) -> None:
        """Keep an update; OSError if the disk does not take it: then it must not be committed to."""
        if len(self._updates) >= MAX_KEPT:
            raise OSError(f"{MAX_KEPT} updates wait for their settlement already")
        self._folder.mkdir(exist_ok=True)
        write_private(self._path_of(update), json.dumps(_show(update)))
        self._updates[update.commitment] = update

    def drop(self, update: KeptUpdate) -> None:
        self._updates.pop(update.commitment, None)
        self._path_of(update).unlink(missing_ok=True)

    def _path_of(self, update: KeptUpdate) -> Path:
        return self._folder / f"{update.commitment.hex()}.json"

    def _load(self) -> list[KeptUpdate]:
        found = []
        for path in sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []:
            try:
                update = _read(json.loads(path.read_text()))
            except (OSError, ValueError, KeyError, TypeError, DecodeError) as error:
                log.warning(
                    "%s is no update of ours (%s); its bond is lost unless you restore it", path, error
                )
                continue
            if path.stem == update.commitment.hex():
                found.append(update)
        return found


def _show(update: KeptUpdate) -> dict[str, str | int]:
    return {
        "miner": update.miner.hex(),
        "job": update.job_id.hex(),
        "round": update.round,
        "salt": update.salt.hex(),
        "payload_base64": base64.b64encode(update.payload).decode(),
        "privacy": encode(update.privacy.to_list()).hex() if update.privacy else "",
    }


def _read(fields: dict[str, str]) -> KeptUpdate:
    miner, job_id, salt = (bytes.fromhex(fields[name]) for name in ("miner", "job", "salt"))
    if {len(miner), len(job_id), len(salt)} != {HASH_BYTES}:
        raise ValueError(f"keys and ids of {HASH_BYTES} bytes expected")
    payload = base64.b64decode(fields["payload_base64"], validate=True)
    told = bytes.fromhex(fields.get("privacy", ""))
    privacy = read_privacy(decode(told, MAX_PRIVACY_BYTES)) if told else None
    return KeptUpdate(miner, job_id, int(fields["round"]), salt, payload, privacy)
