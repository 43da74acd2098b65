"""Mines: keeps the training process busy with the best template, and brings its blocks into the chain.

New template on a new head, after a second, and when the mempool changes. Where a job's runs do not lower its loss, the
heartbeat takes its place for this height. Source: docs/protocol.md, sections 6, 7 and 10.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import trio

from ledger.blocks import Block, Header
from ledger.chain import Chain
from ledger.errors import LedgerError
from ledger.jobspec import encode_spec
from ledger.keys import KeyPair
from ledger.template import Template, assemble_block, build_template
from ledger.work import TicketTask
from node.services.chain_service import ChainService
from node.services.sync import Sync
from node.worker.client import WorkerClient, read_run
from node.worker.wire import Frame

log = logging.getLogger(__name__)

REFRESH_S = 1.0
RATE_WINDOW_S = 20.0
KEPT_TEMPLATES = 16
MAX_EVENTS = 256
ALLOWED_BEHIND = 2  # blocks: further behind, a node would mine on what others have left


@dataclass(frozen=True, slots=True)
class MinerStats:
    """Training runs since the start, their rate of late, blocks found, and the job being trained."""

    runs: int
    runs_per_s: float
    blocks: int
    job_id: bytes | None


class Miner:
    """One node's mining."""

    def __init__(
        self,
        chain: ChainService,
        worker: WorkerClient,
        sync: Sync,
        keypair: KeyPair,
        publish: Callable[[Block], Awaitable[None]],
        enabled: bool,
    ) -> None:
        self.enabled = enabled
        self.on_share: Callable[[Header], None] = lambda share: None
        self._chain, self._worker, self._sync = chain, worker, sync
        self._keypair, self._publish = keypair, publish
        self._numbers = itertools.count(1)
        self._templates: OrderedDict[int, Template] = OrderedDict()
        self._events, self._inbox = trio.open_memory_channel[tuple[str, Frame]](MAX_EVENTS)
        self._counts: deque[tuple[float, int]] = deque()
        self._runs = self._blocks = 0
        self._job_id: bytes | None = None
        self._stuck_on = b""  # the head whose drawn job cannot be mined
        self._resting = True
        self._turn = trio.Lock()  # templates reach the training process in the order in which they were built

    def stats(self) -> MinerStats:
        self._forget_counts()
        recent = sum(runs for _, runs in self._counts)
        return MinerStats(self._runs, recent / RATE_WINDOW_S, self._blocks, self._job_id)

    def _count(self, runs: int) -> None:
        self._runs += runs
        self._counts.append((time.monotonic(), runs))
        self._forget_counts()

    def _forget_counts(self) -> None:
        while self._counts and self._counts[0][0] < time.monotonic() - RATE_WINDOW_S:
            self._counts.popleft()

    def note_event(self, kind: str, arguments: Frame) -> None:
        """Take an event of the training process; on the trio thread."""
        try:
            self._events.send_nowait((kind, arguments))
        except trio.WouldBlock:
            log.warning("mining event %s dropped: too many wait", kind)

    async def run(self) -> None:
        """Mine until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take_events)
            if self.enabled:
                nursery.start_soon(self._keep_busy)

    async def _keep_busy(self) -> None:
        while True:
            change = self._chain.get_next_change()
            await self._refresh()
            with trio.move_on_after(REFRESH_S):
                await change.wait()

    async def _refresh(self) -> None:
        """Give the training process a new template, or a rest while others are ahead."""
        if self.enabled and self.may_mine():
            async with self._turn:
                await self._start_template()
        elif not self._resting:
            self._worker.rest()
            self._resting = True

    def may_mine(self) -> bool:
        """Return whether this node is up to date enough to train on what it knows."""
        progress = self._sync.progress()
        return self._worker.alive and progress.state != "starting" and progress.behind <= ALLOWED_BEHIND

    async def _start_template(self) -> None:
        transactions = await self._chain.select_transactions()

        def build(chain: Chain) -> Template:
            heartbeat = chain.head.hash == self._stuck_on
            return build_template(chain, self._keypair.public, transactions, self._chain.clock(), heartbeat)

        try:
            template = await self._chain.call(build)
        except LedgerError as error:
            log.warning("nothing to mine on: %s", error)
            return
        number = next(self._numbers)
        self._templates[number] = template
        while len(self._templates) > KEPT_TEMPLATES:
            self._templates.popitem(last=False)
        self._job_id = template.drawn if template.spec is not None else None
        spec = encode_spec(template.spec) if template.spec is not None else b""
        nonce = int.from_bytes(os.urandom(8), "big")
        self._resting = False
        self._worker.mine(number, template.work, template.threshold, spec, template.weights, nonce)

    async def _take_events(self) -> None:
        async for kind, arguments in self._inbox:
            if kind == "mined":
                self._count(arguments[1])
            elif kind == "share":
                self._take_share(*arguments)
            elif kind == "found":
                await self._bring_in(*arguments)
            elif kind == "stuck":
                await self._fall_back(*arguments)

    async def _fall_back(self, number: int, why: str) -> None:
        template = self._templates.get(number)
        if template is None:
            return
        log.info("height %d: %s; mining the heartbeat", template.work.height, why)
        if template.spec is not None:
            self._stuck_on = template.work.parent
        await self._refresh()

    def _take_share(self, number: int, nonce: int, *result: bytes) -> None:
        """Pass a run on that did not win but gives an update weight; its replay is known here already."""
        template = self._templates.get(number)
        if template is not None:
            run = read_run(list(result))
            work = replace(template.work, nonce=nonce)
            self._worker.remember(TicketTask(work.seed, work.parent, template.spec, template.weights), run)
            self.on_share(Header(work, run.digest, run.before, run.after))

    async def _bring_in(self, number: int, nonce: int, *result: bytes) -> None:
        template = self._templates.get(number)
        if template is None:
            return
        run = read_run(list(result))
        work = replace(template.work, nonce=nonce)
        self._worker.remember(TicketTask(work.seed, work.parent, template.spec, template.weights), run)
        block = assemble_block(template, nonce, run, self._keypair, self._chain.chain.genesis.chain_id)
        self.on_share(block.header)  # a run that won counts, too
        try:
            added = await self._chain.add_block(block)
        except LedgerError as error:
            log.error("own block at height %d was not accepted: %s", work.height, error)
            await self._refresh()
            return
        if added.connected:
            self._blocks += 1
            await self._publish(block)
        else:
            await self._refresh()
