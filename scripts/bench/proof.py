"""What checking a checkpoint by its light proof costs: headers followed, heartbeats trained again, one thread.

The chain is that of the sync benchmark: heartbeats, and the tickets and settlements of examples/digits.toml.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from figures import Report, Work, finish, median, parse_options
from nodes import open_folder
from sync import mine

from ledger.blocks import HEADER_BYTES, HEARTBEAT, Header
from ledger.lightchain import Shown, check_proof
from ledger.lightproof import read_headers, read_start
from ledger.tickets import replay_heartbeat
from node.work import EngineVerifier
from training.engine import Engine

BLOCKS, QUICK_BLOCKS = 400, 40
ROUNDS = 9
THOUSAND = 1000


@dataclass(frozen=True, slots=True)
class Subject:
    """A proof's bytes and some of its heartbeats."""

    data: bytes
    headers: tuple[Header, ...]
    shown: Shown


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("proof", __doc__, arguments)
    torch.set_num_threads(1)
    report = Report("proof", options.seed, options.quick)
    with open_folder() as folder:
        subject = make_subject(folder / "chain.gcc", QUICK_BLOCKS if options.quick else BLOCKS)
    measure(report, subject)
    report.notes.append(
        "one chain, whatever the seed; every replay is of another heartbeat, none comes out of a cache"
    )
    finish(report, options)


def make_subject(file: Path, blocks: int) -> Subject:
    mine(file, blocks)
    data, headers = file.with_suffix(".proof").read_bytes(), list[Header]()
    shown = follow(data, headers.append)
    return Subject(data, tuple(h for h in headers if h.work.job_id == HEARTBEAT), shown)


def follow(data: bytes, visit: Callable[[Header], None]) -> Shown:
    """Check a proof but for its replays."""
    stream = io.BytesIO(data)
    proof = read_start(stream.read)
    return check_proof(proof, read_headers(proof, stream.read), open_verifier("fused").heartbeat_work, visit)


def measure(report: Report, subject: Subject) -> None:
    works: dict[str, Work] = {
        "headers": partial(follow, subject.data, lambda header: None),
        "fused": make_replay(subject, "fused"),
        "portable": make_replay(subject, "portable"),
    }
    times = report.time(works, ROUNDS)
    count, heartbeats = subject.shown.head.height, subject.shown.heartbeats
    report.add_one("blocks of the chain", count, "blocks")
    report.add_one("of them heartbeats", heartbeats, "blocks")
    report.add_one("size of the proof", len(subject.data), "bytes")
    report.add_one("of it beside the headers", len(subject.data) - count * HEADER_BYTES, "bytes")
    report.add("following 1,000 headers", [s * 1e3 * THOUSAND / count for s in times["headers"]], "ms")
    report.add("training a heartbeat again", [s * 1e3 for s in times["fused"]], "ms")
    report.add("training a heartbeat again, portable path", [s * 1e3 for s in times["portable"]], "ms")
    share = heartbeats / count
    for name, part in (("like this one", share), ("without jobs", 1.0)):
        seconds = THOUSAND * (median(times["headers"]) / count + part * median(times["fused"]))
        report.add_one(f"a proof of 1,000 blocks of a chain {name}", seconds, "s")


def make_replay(subject: Subject, path: Literal["fused", "portable"]) -> Work:
    """One heartbeat after the other, over and over."""
    verifier, position = open_verifier(path), 0

    def replay() -> None:
        nonlocal verifier, position
        if position == len(subject.headers):  # what was just done is remembered
            verifier, position = open_verifier(path), 0
        replay_heartbeat(subject.headers[position], verifier)
        position += 1

    return replay


def open_verifier(path: Literal["fused", "portable"]) -> EngineVerifier:
    return EngineVerifier(Engine(refuse_blob, path))


def refuse_blob(cid: bytes) -> bytes:
    raise LookupError(f"a heartbeat needs no blob, asked for {cid.hex()}")


if __name__ == "__main__":
    main()
