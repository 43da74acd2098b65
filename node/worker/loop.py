"""What the training process does all day: mine, and answer requests between two mining runs.

So a replay waits for one run at the most.
"""

from __future__ import annotations

import logging
import select
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from ledger.blobs import BlobStore
from ledger.errors import LedgerError, MissingBlobs
from ledger.genesis import Genesis
from ledger.work import WorkRefused
from node.work import EngineVerifier
from node.worker.mining import MiningRound, decode_mining
from node.worker.requests import Requests
from node.worker.wire import Frame, FrameReader, write_frame

log = logging.getLogger(__name__)

EVENT = 0  # the request id of frames nobody asked for
REPORT_S = 0.5


def run_loop(genesis_path: Path, blobs_path: Path, path: str, output: int) -> None:
    """Serve until the input ends."""
    genesis = Genesis.decode(genesis_path.read_bytes())
    verifier = make_verifier(BlobStore(blobs_path), path)
    write_frame(output, [EVENT, "hello", verifier.heartbeat_work, path])
    Loop(FrameReader(0), output, genesis, verifier).run()


def make_verifier(blobs: BlobStore, path: str) -> EngineVerifier:
    """Load the engine and check this machine's arithmetic before anything is judged with it."""
    from training.engine import Engine
    from training.exact.fused.cache import mark_compiled
    from training.exact.selftest import check_machine

    chosen: Literal["fused", "portable"] = "portable" if path == "portable" else "fused"
    check_machine(chosen)
    if chosen == "fused":
        with suppress(OSError):  # numba could keep nothing there either
            mark_compiled()
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
        self._last_fault = ""

    def run(self) -> None:
        while True:
            while (frame := self._reader.take()) is not None:
                self.handle(frame)
            if self._mining is None or self._has_input():
                if not self._reader.fill():
                    return
            else:
                self.mine_once()

    def _has_input(self) -> bool:
        return bool(select.select([0], [], [], 0)[0])

    def handle(self, frame: Frame) -> None:
        """Answer a request, or take or drop a template."""
        number, kind, *arguments = frame
        if kind == "mine":
            self._report(force=True)
            mining = decode_mining(arguments, self._params)
            if self._mining is not None:
                mining.keep_on(self._mining)
            self._mining = mining
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
        except Exception as error:  # border: one request must not end the process
            log.exception("request %s failed", kind)
            return [number, "failed", f"{type(error).__name__}: {error}", str(getattr(error, "hint", ""))]

    def mine_once(self) -> None:
        """Do one mining run, if there is a template."""
        mining = self._mining
        if mining is None:
            return
        try:
            found = mining.try_next(self._verifier)
        except Exception as error:
            if mining.spec is None:  # the heartbeat always runs: this machine is broken
                raise
            self._mining = None
            why = str(error) or type(error).__name__
            if why != self._last_fault:  # once: a bad job fails at every height
                log.exception(
                    "the run of a job failed"
                )  # the job's fault, perhaps: it must not end every miner
                self._last_fault = why
            write_frame(self._output, [EVENT, "stuck", mining.number, why])
            return
        if found is not None:
            self._report_find(mining, *found)
        elif mining.is_stuck:
            self._report(force=True)
            self._mining = None
            write_frame(self._output, [EVENT, "stuck", mining.number, "the job's runs do not lower its loss"])
        else:
            self._report()

    def _report_find(self, mining: MiningRound, event: str, *find: Any) -> None:  # Any: passed on
        if event == "found":
            self._report(force=True)
            self._mining = None
        write_frame(self._output, [EVENT, event, mining.number, *find])

    def _report(self, force: bool = False) -> None:
        now_s = time.monotonic()
        if self._mining is None or not (force or now_s - self._reported_s > REPORT_S):
            return
        self._reported_s = now_s
        runs, valid = self._mining.take_counts()
        write_frame(self._output, [EVENT, "mined", self._mining.number, runs, valid])
