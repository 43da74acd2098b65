"""Replay an exported chain from genesis: `python -m node.verify FILE [--path fused|portable] [--stories FILE]`.

Trusts nothing of the file: every block goes through a fresh chain, every training run is done again. Prints JSON
lines; the last one is the verdict. Needs no node, no network and no event loop. Source: docs/api.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from ledger.blobs import BlobStore
from ledger.blocks import HEARTBEAT, Header
from ledger.chain import Chain
from ledger.chainfile import END_RECORD_BYTES, ChainFile, FiledBlock, read_end
from ledger.codec import MAX_AMOUNT
from ledger.difficulty import expected_runs, threshold
from ledger.errors import DecodeError, InvalidBlock, LedgerError
from ledger.hashing import cid_text
from ledger.jobspec import JobSpec
from ledger.records import JOB, decode_job
from ledger.slots import draw_job
from ledger.state import Overlay, check_supply
from ledger.storage import open_storage
from ledger.work import JobFacts, Settled, SettleTask, TicketRun, TicketTask, WorkRefused, WorkVerifier
from node.exits import Exit
from node.explain.explain import NotOnChain, explain, tell_all
from node.threads import use_one_thread

PROGRESS_S = 0.5
PATHS = ("fused", "portable")

Tell = Callable[[Chain], dict[str, Any]]  # Any: values of JSON; more for the verdict, from the replayed chain
Report = Callable[[dict[str, Any]], None]  # Any: values of one JSON line
MakeVerifier = Callable[[BlobStore], WorkVerifier]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m node.verify", description="Replay an exported chain.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--path", choices=PATHS, default=PATHS[0])
    stories = parser.add_mutually_exclusive_group()
    stories.add_argument("--explain", default="", metavar="ID", help="Also tell the story of one thing.")
    stories.add_argument(
        "--stories", type=Path, metavar="FILE", help="Write the story of everything, a JSON line each."
    )
    options = parser.parse_args(arguments)
    use_one_thread()
    make = partial(_make_verifier, path=options.path)
    if options.stories is not None:
        return verify_with_stories(options.file, options.stories, make, print_line)
    tell = partial(tell_one, name=options.explain) if options.explain else None
    return verify_file(options.file, make, print_line, tell)


def print_line(line: dict[str, Any]) -> None:  # Any: values of one JSON line
    print(json.dumps(line), flush=True)


def _make_verifier(blobs: BlobStore, path: str) -> WorkVerifier:
    return open_engine(blobs.get, path)


def open_engine(load_blob: Callable[[bytes], bytes], path: str) -> WorkVerifier:
    """Return a verifier that trains on this machine, once its self-test has passed."""
    from node.work import EngineVerifier  # imports the engine, which --help need not wait for
    from training.engine import Engine
    from training.exact.selftest import check_machine

    check_machine("portable" if path == "portable" else "fused")
    return EngineVerifier(Engine(load_blob, "portable" if path == "portable" else "fused"))


def tell_one(chain: Chain, name: str) -> dict[str, Any]:  # Any: values of JSON
    """Return the `story` of something on the chain, or `not_found`."""
    try:
        return {"story": explain(chain, name).to_json()}
    except NotOnChain as error:
        return {"not_found": str(error)}


def write_stories(chain: Chain, file: TextIO) -> dict[str, Any]:  # Any: values of JSON
    """Write everything's story; return how many `stories` there are of each kind and verdict.

    The same chain gives the same bytes on every machine: to compare two verifications, compare their files.
    """
    counted: Counter[str] = Counter()
    for story in tell_all(chain):
        file.write(json.dumps(story.to_json()) + "\n")
        counted[f"{story.kind} {story.verdict}"] += 1
    return {"stories": dict(sorted(counted.items()))}


def verify_with_stories(path: Path, stories: Path, make_verifier: MakeVerifier, report: Report) -> int:
    """Verify a chain file and write everything's story. What was at `stories` is replaced at the end, if at all: where
    the chain does not verify, or the stories cannot be written, it stays."""
    temporary = stories.with_name(f".{stories.name}.{os.getpid()}")
    try:
        with temporary.open("w") as file:
            outcome = verify_file(path, make_verifier, report, partial(_tell_stories, file=file))
        if outcome == Exit.DONE:
            temporary.replace(stories)
        return outcome
    except (OSError, _StoriesFailed) as error:
        reason = error.__cause__ if isinstance(error, _StoriesFailed) else error
        words = getattr(reason, "strerror", None) or str(reason)
        report(
            {"verified": False, "height": 0, "error": f"the stories cannot be written to {stories}: {words}"}
        )
        return Exit.BAD_FILE
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


class _StoriesFailed(Exception):
    """The disk did not take the stories; nothing is said of the chain."""


def _tell_stories(chain: Chain, file: TextIO) -> dict[str, Any]:  # Any: values of JSON
    try:
        told = write_stories(chain, file)
        file.flush()
    except OSError as error:
        raise _StoriesFailed from error
    return told


def verify_file(path: Path, make_verifier: MakeVerifier, report: Report, tell: Tell | None = None) -> int:
    """Replay a chain file, reporting lines; return the exit code. Nothing of the replay stays on the disk.

    The verdict has what `tell` adds, which sees the replayed chain.
    """
    replay: Replay | None = None
    try:
        with path.open("rb") as file, tempfile.TemporaryDirectory(prefix="gradientcoin-verify-") as folder:
            replay = Replay(file, Path(folder), make_verifier, report)
            try:
                verdict = replay.run()
                report(verdict | tell(replay.chain) if tell else verdict)
            finally:
                replay.close()
    except OSError as error:
        report(_failure(replay, f"{path}: {error.strerror or error}"))
        return Exit.BAD_FILE
    except DecodeError as error:
        report(_failure(replay, str(error)))
        return Exit.DAMAGED
    except BlockRefused as error:
        report(_failure(replay, str(error)))
        return Exit.FAILED
    return Exit.DONE


def _failure(replay: Replay | None, error: str) -> dict[str, Any]:  # Any: values of one JSON line
    return {"verified": False, "height": replay.height if replay else 0, "error": error}


class BlockRefused(Exception):
    """A block of the file breaks a rule, or its training gives another result here."""


class Replay:
    """A chain file on its way through a fresh `chain`. `height` is that of the block being checked."""

    def __init__(self, file: BinaryIO, folder: Path, make_verifier: MakeVerifier, report: Report) -> None:
        self.height = 0
        self._report = report
        self._reported_s = time.monotonic()
        file.seek(-min(END_RECORD_BYTES, file.seek(0, 2)), 2)
        self._count, _ = read_end(file.read())
        file.seek(0)
        self._source = ChainFile(file.read)
        self._blobs = BlobStore(folder / "blobs")
        self._verifier = CountingVerifier(make_verifier(self._blobs))
        self._storage = open_storage(folder / "chain.sqlite", durable=False)
        self.chain = Chain(self._storage, self._blobs, self._source.genesis, self._verifier)
        self._runs = 0

    def close(self) -> None:
        self._storage.close()

    def run(self) -> dict[str, Any]:  # Any: values of one JSON line
        """Replay everything and return the verdict; DecodeError or BlockRefused if it is not what it claims."""
        for filed in self._source:
            self.height = filed.block.header.work.height
            try:
                self._add(filed)
            except (LedgerError, WorkRefused, _training_error()) as error:
                raise BlockRefused(str(error)) from error
            self._report_progress()
        chain = self.chain
        try:
            check_supply(chain.state.entries().items())
        except InvalidBlock as error:
            raise BlockRefused(str(error)) from error
        jobs = {key[1:]: decode_job(data) for key, data in chain.state.entries().items() if key[0] == JOB}
        return {
            "verified": True,
            "blocks": chain.head.height,
            "replayed": self._verifier.replayed,
            "runs": self._runs,
            "settlements": self._verifier.settled,
            "head": chain.head.hash.hex(),
            "state_root": chain.state.root.hex(),
            "weights": {job_id.hex(): cid_text(record.weights) for job_id, record in sorted(jobs.items())},
        }

    def _add(self, filed: FiledBlock) -> None:
        chain, header = self.chain, filed.block.header
        for blob in filed.blobs:
            self._blobs.put(blob)
        drawn = draw_job(Overlay(chain.state), chain.head.hash, chain.head.height + 1, chain.params)
        self._verifier.expect(header.seed)
        added = chain.add_block(filed.block, MAX_AMOUNT)  # how far ahead of the clock is policy, not a rule
        if [block.hash for block in added.connected] != [header.hash]:
            raise InvalidBlock(f"block {header.hash.hex()} does not follow the one before it in the file")
        self._runs += expected_runs(self._threshold(header, drawn))

    def _threshold(self, header: Header, drawn: bytes | None) -> int:
        job_id = header.work.job_id
        if job_id == HEARTBEAT:
            work = self._verifier.heartbeat_work
            return threshold(header.work.target, work, drawn is not None, self.chain.params)
        record = Overlay(self.chain.state).get_job(job_id)
        assert record is not None  # the block was accepted; jobs are never removed
        return threshold(header.work.target, record.work, False, self.chain.params)

    def _report_progress(self) -> None:
        now_s = time.monotonic()
        if now_s - self._reported_s >= PROGRESS_S:
            self._reported_s = now_s
            self._report({"height": self.height, "of": self._count})


def _training_error() -> type[Exception]:
    """The engine's own errors; imported late, like the engine."""
    from training.errors import TrainingError

    return TrainingError


@dataclass(slots=True)
class CountingVerifier:
    """A verifier that counts the tickets replayed and the rounds settled."""

    inner: WorkVerifier
    replayed: int = 0
    settled: int = 0
    expected_seed: bytes = b""

    def expect(self, seed: bytes) -> None:
        """Name the ticket that counts as replayed; a submission's trial does not."""
        self.expected_seed = seed

    @property
    def heartbeat_work(self) -> int:
        return self.inner.heartbeat_work

    def inspect(self, spec: JobSpec) -> JobFacts:
        return self.inner.inspect(spec)

    def run(self, task: TicketTask) -> TicketRun:
        run = self.inner.run(task)
        if task.seed == self.expected_seed:
            self.replayed += 1
            self.expected_seed = b""
        return run

    def settle(self, task: SettleTask) -> Settled:
        settled = self.inner.settle(task)
        self.settled += 1
        return settled


def stop(number: int, frame: object) -> None:
    """End so that the temporary folder goes; a second signal must not interrupt that."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, stop)
    sys.exit(main())
