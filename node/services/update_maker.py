"""Trains updates for the network's jobs and brings them through commit, reveal and settlement.

One update at a time: for the job that pays best, from the weights its round starts from, with what time a round has.
Decides nothing about blocks. Source: docs/protocol.md, sections 7.1 and 10.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from ledger.chain import Chain
from ledger.errors import LedgerError
from ledger.hashing import HASH_BYTES
from ledger.history import SettlementRecord
from ledger.jobspec import encode_spec
from ledger.mempool import Mempool
from ledger.privacy import read_privacy
from ledger.settlement import Outcome, UpdateResult
from ledger.transactions import SHARE_BYTES, CommitUpdate, RevealUpdate, Transaction
from node.amounts import format_amount
from node.services.chain_service import ChainService
from node.services.kept_updates import KeptUpdate, KeptUpdates
from node.services.paying import NotEnough, sign_for
from node.services.share_box import ShareBox
from node.services.update_plan import (
    Plan,
    choose_plan,
    has_ended,
    has_paying_job,
    is_due,
    most_shares,
    take_shares,
)
from node.trainer.client import SamplesRefused, TrainingRefused
from node.trainer.requests import DEFAULT_METHOD, Method, Trained, TrainersStatus, TrainRequest
from node.wallet import WalletAccount

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 5.0
MAX_TRIED = 256


class UpdateTrainer(Protocol):
    """Trains an update in a process of its own (node/trainer/client.py)."""

    async def warm_up(self) -> None:
        """Be ready for a training soon."""

    async def train(self, request: TrainRequest) -> Trained:
        """TrainingRefused if there is no update; LedgerError if the trainer failed."""

    def describe(self) -> TrainersStatus:
        """How it is."""


@dataclass(slots=True)
class MarketStats:
    """What became of the node's updates since it started; `earned` in units, less fines and lost bonds."""

    trained: int = 0
    committed: int = 0
    revealed: int = 0
    paid: int = 0
    earned: int = 0
    doing: str = "waiting for a job that pays for updates"
    note: str = ""  # what an operator should mend
    budget: str = ""  # what private updates spent, in words


class UpdateMaker:
    """One node's part in the market."""

    def __init__(
        self,
        chain: ChainService,
        trainer: UpdateTrainer,
        account: WalletAccount,
        kept: KeptUpdates,
        shares: ShareBox,
        may_work: Callable[[], bool],
        enabled: bool,
        method: Method = DEFAULT_METHOD,
    ) -> None:
        self.enabled = enabled
        self._method = method
        self.stats = MarketStats()
        self._chain, self._trainer, self._account = chain, trainer, account
        self._kept, self._shares, self._may_work = kept, shares, may_work
        self._tried: dict[tuple[bytes, int], None] = {}

    def describe_trainers(self) -> TrainersStatus:
        return self._trainer.describe()

    async def run(self) -> None:
        """Until cancelled: reveal what was committed to, and, if enabled, train more."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_after_kept)
            if self.enabled:
                nursery.start_soon(self._keep_training)

    # making updates

    async def _keep_training(self) -> None:
        while True:
            change = self._chain.get_next_change()
            plan = await self._chain.call(self._choose_plan) if self._may_work() else None
            if plan is not None:
                await self._make(plan)
                continue
            if await self._chain.call(has_paying_job):
                await self._trainer.warm_up()
            await _wait(change)

    def _choose_plan(self, chain: Chain) -> Plan | None:
        plan = choose_plan(chain, lambda job_id, number: (job_id, number) in self._tried)
        if plan is not None:
            self._tried[plan.job_id, plan.round] = None
            while len(self._tried) > MAX_TRIED:
                del self._tried[next(iter(self._tried))]
        return plan

    async def _make(self, plan: Plan) -> None:
        """Train and commit one update; whatever fails costs this round only."""
        name = f"round {plan.round} of job {plan.job_id.hex()[:8]}"
        self.stats.doing = f"training for {name}"
        try:
            trained = await self._train(plan)
        except SamplesRefused as error:
            self._note_samples(plan.job_id, f"no private update: {error}")
            self.stats.doing = "waiting for the next round"
        except NotEnough as error:
            self.stats.doing = f"waiting for income: {error}"
            log.info("no update for %s: %s", name, error)
        except TrainingRefused as error:
            log.info("no update for %s: %s", name, error)
        except LedgerError as error:
            log.warning("no update for %s: %s", name, error)
        else:
            self.stats.trained += 1
            self._note_samples(plan.job_id, trained.note)
            self._note_budget(trained.budget)
            losses = (trained.loss_before, trained.loss_after)
            log.info("update for %s: %s, loss %.6g -> %.6g", name, trained.solver, *losses)
            await self._commit(plan, trained)

    async def _train(self, plan: Plan) -> Trained:
        request = self._ask(plan)
        if request.privacy and request.samples_path:
            await self._check_means(plan)
        return await self._trainer.train(request)

    async def _check_means(self, plan: Plan) -> None:
        """NotEnough where an update could not be committed to: a private one would spend its budget for nothing."""

        def sign(chain: Chain) -> object:
            shares = (bytes(SHARE_BYTES),) * most_shares(chain.params)
            probe = CommitUpdate(plan.job_id, plan.round, bytes(HASH_BYTES), plan.limit_bytes, shares)
            return sign_for(chain, self._chain.mempool, self._account, probe)

        await self._chain.call(sign)

    def _ask(self, plan: Plan) -> TrainRequest:
        return TrainRequest(
            spec=encode_spec(plan.spec),
            weights=plan.weights,
            previous=plan.previous,
            seed=secrets.token_bytes(32),  # so that miners' updates differ
            seconds=plan.limit_s,
            size_limit=plan.limit_bytes,
            solver=self._method.solver,
            precision=self._method.precision,
            samples_path=find_samples(self._method.own_samples, plan.job_id),
            privacy=self._method.privacy,
            privacy_path=self._method.privacy_path,
        )

    def _note_samples(self, job_id: bytes, why: str) -> None:
        """Say once, and until it is mended, that an update was trained without the own samples it should have had."""
        note = f"job {job_id.hex()[:8]}: {why}" if why else ""
        if note and note != self.stats.note:
            log.warning("%s", note)
        self.stats.note = note

    def _note_budget(self, budget: str) -> None:
        """Say what of the own samples' privacy is spent; a later public update says nothing of it."""
        if budget:
            log.info("privacy of the own samples: %s", budget)
            self.stats.budget = budget

    async def _commit(self, plan: Plan, trained: Trained) -> None:
        miner, salt = self._account.keypair.public, secrets.token_bytes(32)
        privacy = read_privacy(list(trained.privacy)) if trained.privacy else None
        update = KeptUpdate(miner, plan.job_id, plan.round, salt, trained.payload, privacy)
        try:
            await trio.to_thread.run_sync(self._kept.add, update)
        except OSError as error:
            log.warning("update not committed, for it could not be kept: %s", error)
            return
        while True:
            change = self._chain.get_next_change()
            try:
                await self._chain.send_transaction(lambda chain, pool: self._sign_commit(chain, pool, update))
            except NoShares:
                self.stats.doing = "waiting for a training run that counts as a share"
                await _wait(change)
                continue
            except NotEnough as error:
                self.stats.doing = f"waiting for income: {error}"
                log.info("update not committed: %s", error)
            except LedgerError as error:
                log.info("update not committed: %s", error)
            else:
                self.stats.committed += 1
                self.stats.doing = "waiting for the next round"
            return

    def _sign_commit(self, chain: Chain, mempool: Mempool, update: KeptUpdate) -> Transaction:
        bodies = (tx.body for tx in mempool.transactions())
        waiting = [body for body in bodies if isinstance(body, CommitUpdate)]
        shares = take_shares(chain, self._shares, waiting, update)
        if not shares:
            raise NoShares
        return sign_for(chain, mempool, self._account, update.make_commit(shares))

    # what was committed to

    async def _look_after_kept(self) -> None:
        while True:
            change = self._chain.get_next_change()
            for update in self._kept.get_all():
                await self._look_after(update)
            await _wait(change)

    async def _look_after(self, update: KeptUpdate) -> None:
        try:
            if await self._chain.call(lambda chain: is_due(chain, update)):
                await self._reveal(update)
            elif await self._chain.call(lambda chain: has_ended(chain, update, self._chain.mempool)):
                await self._close(update)
        except LedgerError as error:
            log.warning("update %s: %s", update.commitment.hex()[:12], error)

    async def _reveal(self, update: KeptUpdate) -> None:
        bodies = [tx.body for tx in self._chain.mempool.transactions()]
        if any(isinstance(b, RevealUpdate) and b.payload == update.payload_cid for b in bodies):
            return
        async with self._chain.hold_blobs([update.payload_cid]):
            await self._chain.put_blob(update.payload_cid, update.payload)
            await self._chain.send_transaction(
                lambda chain, pool: sign_for(chain, pool, self._account, update.make_reveal())
            )
        self.stats.revealed += 1

    async def _close(self, update: KeptUpdate) -> None:
        """Note what became of an update that is settled, or that no block took, and forget it."""
        result = await self._chain.call(lambda chain: find_result(chain, update))
        if result is not None:
            self._note(result)
        await trio.to_thread.run_sync(self._kept.drop, update)

    def _note(self, result: UpdateResult) -> None:
        name, amount = result.update.commitment.hex()[:12], format_amount(result.amount)
        log.info("update %s: %s %s", name, result.outcome, amount)
        if result.outcome is Outcome.PAID:
            self.stats.paid += 1
            self.stats.earned += result.amount
        elif result.outcome is not Outcome.UNPAID:
            self.stats.earned -= result.amount


def find_samples(own_samples: Sequence[tuple[str, str]], job_id: bytes) -> str:
    """Return the file for a job, or an empty text: that which names it by most digits."""
    fitting = [(len(job), file) for job, file in own_samples if job_id.hex().startswith(job)]
    return max(fitting, default=(0, ""))[1]


class NoShares(LedgerError):
    """No training run of ours can give an update weight at the moment."""


def find_result(chain: Chain, update: KeptUpdate) -> UpdateResult | None:
    """Return what a settlement of the main chain said of an update."""
    records: list[SettlementRecord] = chain.list_settlements(update.job_id)
    for record in reversed(records):
        if record.settlement.round == update.round:
            results = record.settlement.updates
            return next((r for r in results if r.update.commitment == update.commitment), None)
    return None


async def _wait(change: trio.Event) -> None:
    with trio.move_on_after(LOOK_AGAIN_S):
        await change.wait()
