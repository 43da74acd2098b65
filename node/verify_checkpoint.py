"""Check a checkpoint against a light proof: `python -m node.verify_checkpoint CHECKPOINT PROOF`.

Needs neither blocks nor data nor a node: headers are followed from genesis, every heartbeat is trained again, and the
checkpoint's weights must be those of the job's record. Prints JSON lines; the last one is the verdict.
Source: docs/protocol.md, section 14; docs/api.md.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ledger.blocks import HEARTBEAT, Header
from ledger.errors import DecodeError, LedgerError, MissingBlobs
from ledger.hashing import HASH_BYTES, cid_of, cid_text
from ledger.jobspec import JobSpec, decode_spec
from ledger.keys import address_text
from ledger.lightchain import Shown, check_proof
from ledger.lightproof import LightProof, read_headers, read_start
from ledger.records import JobRecord
from ledger.tickets import replay_heartbeat
from ledger.work import WorkVerifier
from node.exits import Exit
from node.job_words import Place, describe, name_status, show_text
from node.threads import use_one_thread
from node.verify import PATHS, PROGRESS_S, Report, open_engine, print_line, stop

LOSS_UNIT = 2**-40

Json = dict[str, Any]  # Any: values of one JSON line
ReadWeights = Callable[[JobSpec, BinaryIO], bytes]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m node.verify_checkpoint", description="Check a checkpoint against a light proof."
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("proof", type=Path)
    parser.add_argument("--path", choices=PATHS, default=PATHS[0])
    parser.add_argument("--chain-id", type=_read_hash, help="The chain it must be.")
    parser.add_argument(
        "--block", type=_read_hash, action="append", default=[], help="A block that must be in it."
    )
    parser.add_argument("--min-work", type=int, default=0, help="The least heartbeat work.")
    parser.add_argument("--min-cover", type=int, default=0, help="The least of it from the record on.")
    options = parser.parse_args(arguments)
    use_one_thread()
    pins = Pins(options.chain_id, tuple(options.block), options.min_work, options.min_cover)
    verifier = open_engine(_refuse_blob, options.path)
    return verify_files(options.checkpoint, options.proof, pins, verifier, _read_weights, print_line)


@dataclass(frozen=True, slots=True)
class Pins:
    """What the asker knows or demands; work in runs at standard work (docs/protocol.md, sections 8 and 14)."""

    chain_id: bytes | None = None
    blocks: tuple[bytes, ...] = ()
    min_work: int = 0
    min_cover: int = 0


class Refused(Exception):
    """Proof and checkpoint are readable, and do not show what was asked."""


class BadFile(Exception):
    """A file that cannot be used as it is."""


def verify_files(
    checkpoint: Path,
    proof: Path,
    pins: Pins,
    verifier: WorkVerifier,
    read_weights: ReadWeights,
    report: Report,
) -> int:
    """Check the two files, reporting lines, and return the exit code."""
    try:
        with proof.open("rb") as proof_file, checkpoint.open("rb") as checkpoint_file:
            report(_Check(proof_file, pins, verifier, report).run(checkpoint_file, read_weights))
    except OSError as error:
        report(_failure(f"{error.filename or proof}: {error.strerror or error}"))
        return Exit.BAD_FILE
    except BadFile as error:
        report(_failure(str(error)))
        return Exit.BAD_FILE
    except DecodeError as error:
        report(_failure(str(error)))
        return Exit.DAMAGED
    except (Refused, LedgerError) as error:
        report(_failure(str(error)))
        return Exit.FAILED
    return Exit.DONE


def _failure(error: str) -> Json:
    return {"verified": False, "error": error}


class _Check:
    """A proof on its way through all checks: what is cheap comes first, the replays last."""

    def __init__(self, file: BinaryIO, pins: Pins, verifier: WorkVerifier, report: Report) -> None:
        self._file, self._pins, self._verifier, self._report = file, pins, verifier, report
        self._reported_s = time.monotonic()
        self._pinned: dict[bytes, int] = {}  # height by hash
        self._proof: LightProof = read_start(file.read)

    def run(self, checkpoint: BinaryIO, read_weights: ReadWeights) -> Json:
        proof = self._proof
        self._check_start()
        shown = self._follow(self._note_pin)
        self._check_pins(shown)
        spec = decode_spec(proof.read_record().spec, proof.genesis.params)
        self._check_weights(read_weights(spec, checkpoint))
        if self._follow(self._replay) != shown:
            raise BadFile("the proof changed while it was read")
        return _tell_chain(proof, shown, self._pins, self._pinned) | _tell_job(proof, spec)

    def _check_start(self) -> None:
        proof, wanted = self._proof, self._pins.chain_id
        if wanted is not None and proof.genesis.chain_id != wanted:
            raise Refused(
                f"chain id: expected {wanted.hex()}, the proof is of {proof.genesis.chain_id.hex()}"
            )
        size = self._file.seek(0, 2)
        if size != proof.size_bytes:
            raise DecodeError(
                f"light proof: {proof.size_bytes} bytes expected for {proof.count} headers, the file has {size}"
            )

    def _follow(self, visit: Callable[[Header], None]) -> Shown:
        self._file.seek(self._proof.headers_at)
        headers = read_headers(self._proof, self._file.read)
        return check_proof(self._proof, headers, self._verifier.heartbeat_work, visit)

    def _note_pin(self, header: Header) -> None:
        if header.hash in self._pins.blocks:
            self._pinned[header.hash] = header.work.height

    def _replay(self, header: Header) -> None:
        if header.work.job_id == HEARTBEAT:
            replay_heartbeat(header, self._verifier)
        now_s = time.monotonic()
        if now_s - self._reported_s >= PROGRESS_S:
            self._reported_s = now_s
            self._report({"height": header.work.height, "of": self._proof.count})

    def _check_pins(self, shown: Shown) -> None:
        for block in self._pins.blocks:
            if block not in self._pinned:
                raise Refused(f"block {block.hex()} is not among the {shown.head.height} of the proof")
        if shown.work < self._pins.min_work:
            raise Refused(f"heartbeat work: at least {self._pins.min_work} expected, got {shown.work}")
        if shown.cover < self._pins.min_cover:
            raise Refused(
                f"cover of the record: at least {self._pins.min_cover} expected, got {shown.cover} "
                f"from height {self._proof.place} on"
            )

    def _check_weights(self, weights: bytes) -> None:
        record, got = self._proof.read_record(), cid_of(weights)
        if got != record.weights:
            raise Refused(
                f"weights: the job's record has {cid_text(record.weights)} (version {record.version}), "
                f"the checkpoint's are {cid_text(got)}; job proof --version writes a proof of another version"
            )


def _tell_chain(proof: LightProof, shown: Shown, pins: Pins, pinned: dict[bytes, int]) -> Json:
    head = shown.head
    return {
        "verified": True,
        "chain": proof.genesis.params.name,
        "chain_id": proof.genesis.chain_id.hex(),
        "head": {"height": head.height, "hash": head.hash.hex(), "time_ms": head.time_ms},
        "replayed": shown.heartbeats,
        "heartbeat_work": str(shown.work),
        "cover": {"from": proof.place, "heartbeats": shown.cover_heartbeats, "work": str(shown.cover)},
        "pinned": {
            "chain_id": pins.chain_id is not None,
            "blocks": [{"height": height, "hash": block.hex()} for block, height in pinned.items()],
        },
        "not_proven": _list_unproven(proof, shown, pins, pinned),
    }


def _tell_job(proof: LightProof, spec: JobSpec) -> Json:
    record, params = proof.read_record(), proof.genesis.params
    place = Place(proof.job_id, record, proof.place - 1, params)
    return {
        "job": proof.job_id.hex(),
        "title": show_text(spec.title),
        "owner": address_text(params.address_prefix, record.owner),
        "submitted": record.submitted,
        "state_after": proof.place - 1,
        "status": name_status(place),
        "reason": describe(place)[0],
        "version": record.version,
        "provenance": record.provenance.hex(),
        "parent": {"id": spec.parent.hex(), "weights_cid": cid_text(spec.parent_weights)}
        if spec.parent
        else None,
        "weights_cid": cid_text(record.weights),
        **_tell_losses(record),
    }


def _tell_losses(record: JobRecord) -> Json:
    """Means on the samples of settlements; null before the first one."""
    last = record.last_losses
    return {
        "first_loss": record.first_loss * LOSS_UNIT if last else None,
        "loss": last[-1] * LOSS_UNIT if last else None,
        "first_loss_units": str(record.first_loss) if last else None,
        "last_losses_units": [str(loss) for loss in last],
    }


def _list_unproven(proof: LightProof, shown: Shown, pins: Pins, pinned: dict[bytes, int]) -> list[str]:
    """Return, in sentences, what a reader might take for proven and is not."""
    left: list[str] = []
    if pins.chain_id is None and not pinned:
        left.append("That this is the chain you mean: compare its chain id with one from a source you trust.")
    if max(pinned.values(), default=0) < proof.place:
        left.append(
            "That no other branch of the chain says something else: of several proofs believe the one with the most "
            "heartbeat work, or name a block at the record's height or later that you know. To forge this record, "
            f"heartbeat training worth {shown.cover:,} standard runs had to be done."
        )
    left.append(f"What became of the job after block {proof.place - 1:,}.")
    jobs = shown.head.height - shown.heartbeats
    left.append(
        f"The training of the {jobs:,} blocks that jobs won, transactions, signatures and settlements: they are not "
        "in the proof, and count nothing in it. A replay of the whole chain checks them."
    )
    left.append("What else the checkpoint file says: only its tensors are compared.")
    return left


def _read_weights(spec: JobSpec, file: BinaryIO) -> bytes:
    from node.work import task_of  # the engine, which --help need not wait for
    from training.checkpoint import get_checkpoint_limit, read_checkpoint
    from training.errors import CheckpointRefused, TaskRefused

    task = task_of(spec)
    try:
        return read_checkpoint(task, file.read(get_checkpoint_limit(task) + 1))
    except TaskRefused as error:
        raise Refused(f"the job's record names an objective that is none: {error}") from error
    except CheckpointRefused as error:
        raise (BadFile if error.field == "file" else Refused)(f"checkpoint: {error}") from error


def _refuse_blob(cid: bytes) -> bytes:
    """There are no blobs here: heartbeats draw their data from hashes."""
    raise MissingBlobs([cid])


def _read_hash(text: str) -> bytes:
    data = bytes.fromhex(text)
    if len(data) != HASH_BYTES:
        raise ValueError(f"{2 * HASH_BYTES} hex digits expected, got {len(text)}")
    return data


if __name__ == "__main__":
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, stop)
    sys.exit(main())
