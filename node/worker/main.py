"""The training process: `python -m node.worker.main GENESIS BLOBS PATH`, frames on standard input and output.

Requests are answered between two mining runs, so a replay waits for one run at the most. The process ends when its
input ends: it cannot outlive its node. It knows neither network nor database.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Literal

from ledger.blobs import BlobStore
from ledger.errors import LedgerError, MissingBlobs
from ledger.genesis import Genesis
from ledger.work import WorkRefused
from node.work import EngineVerifier
from node.worker.mining import MiningRound, decode_mining
from node.worker.requests import Requests
from node.worker.wire import Frame, FrameReader, write_frame

EVENT = 0  # the request id of frames nobody asked for
NICE = 5  # the event loops of this machine's nodes go first
REPORT_S = 0.5


def main() -> None:
    genesis_path, blobs_path, path = sys.argv[1:4]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl+C is the node's to handle
    os.nice(NICE)
    output = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not break the frames
    genesis = Genesis.decode(Path(genesis_path).read_bytes())
    verifier = make_verifier(BlobStore(Path(blobs_path)), path)
    write_frame(output, [EVENT, "hello", verifier.heartbeat_work, path])
    Loop(FrameReader(0), output, genesis, verifier).run()


def make_verifier(blobs: BlobStore, path: str) -> EngineVerifier:
    """Import torch and check this machine's arithmetic before anything is judged with it."""
    from training.engine import Engine
    from training.exact.selftest import check_machine

    chosen: Literal["fused", "portable"] = "portable" if path == "portable" else "fused"
    check_machine(chosen)
    return EngineVerifier(Engine(blobs.get, chosen))


class Loop:
    """Mines while there is a template; answers requests in between."""

    def __init__(self, reader: FrameReader, output: int, genesis: Genesis, verifier: EngineVerifier) -> None:
        self._reader, self._output = reader, output
        self._params = genesis.params
        self._verifier = verifier
        self._requests = Requests(genesis.params, verifier)
        self._mining: MiningRound | None = None
        self._reported_s = 0.0

    def run(self) -> None:
        while True:
            while (frame := self._reader.take()) is not None:
                self._handle(frame)
            if self._mining is None or self._has_input():
                if not self._reader.fill():
                    return
            else:
                self._mine(self._mining)

    def _has_input(self) -> bool:
        return bool(select.select([0], [], [], 0)[0])

    def _handle(self, frame: Frame) -> None:
        number, kind, *arguments = frame
        if kind == "mine":
            self._report(force=True)
            self._mining = decode_mining(arguments, self._params)
        elif kind == "rest":
            self._report(force=True)
            self._mining = None
        else:
            write_frame(self._output, self._answer(number, kind, arguments))

    def _answer(self, number: int, kind: str, arguments: Frame) -> Frame:
        try:
            return [number, "ok", *self._requests.answer(kind, arguments)]
        except WorkRefused as error:
            return [number, "refused", str(error)]
        except MissingBlobs as error:
            return [number, "missing", list(error.cids)]
        except LedgerError as error:
            return [number, "failed", str(error)]
        except Exception as error:  # one request must not end the process; the text goes to the node's log
            return [number, "failed", f"{type(error).__name__}: {error}", str(getattr(error, "hint", ""))]

    def _mine(self, mining: MiningRound) -> None:
        try:
            found = mining.try_next(self._verifier)
        except (LedgerError, WorkRefused) as error:
            self._mining = None
            write_frame(self._output, [EVENT, "stuck", mining.number, str(error)])
            return
        if found is not None:
            self._report(force=True)
            self._mining = None
            write_frame(self._output, [EVENT, "found", mining.number, *found])
        elif mining.is_stuck:
            self._report(force=True)
            self._mining = None
            write_frame(self._output, [EVENT, "stuck", mining.number, "the job's runs do not lower its loss"])
        else:
            self._report()

    def _report(self, force: bool = False) -> None:
        now_s = time.monotonic()
        if self._mining is None or not (force or now_s - self._reported_s > REPORT_S):
            return
        self._reported_s = now_s
        runs, valid = self._mining.take_counts()
        write_frame(self._output, [EVENT, "mined", self._mining.number, runs, valid])


if __name__ == "__main__":
    main()
