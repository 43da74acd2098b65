"""A market for updates in one process: exact tickets, miners, settlements and payments, round after round.

The settlement is the engine's and the money the ledger's (get_due_round, make_settle_task, apply_settlement,
pay_updates), on a state that holds nothing but the round's commitments. Blocks, transactions and shares as headers
are left out: an offer says how many shares stand behind it. Source: docs/protocol.md, sections 7.1 and 10.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from lab import Integers, Lab, read_integers

from ledger.commitments import Commitment, make_commitment
from ledger.hashing import cid_of, tagged_hash
from ledger.jobspec import encode_spec
from ledger.keys import address_of
from ledger.market import bond_of, judging_price
from ledger.records import JobRecord, JobStatus, PendingRound, Reason
from ledger.settlement import (
    DueRound,
    Settlement,
    apply_settlement,
    get_due_round,
    make_settle_task,
    pay_updates,
    sample_seeds,
)
from ledger.state import Overlay, State
from ledger.work import SettleTask
from training.merge import Update

JOB_ID = bytes(32)
TICKETS = 4  # of a round: six heights, one or two of them the heartbeat's
ESCROW = 10**15  # units: never short
NO_SALT = bytes(32)


@dataclass(frozen=True)
class Offer:
    """An update of one identity in one round. `size` is what was committed to, by default the payload's."""

    identity: int
    shares: int
    payload: bytes
    size: int = 0

    @property
    def cid(self) -> bytes:
        return cid_of(self.payload)


@dataclass(frozen=True)
class View:
    """What anybody can know when round k's updates are committed to, in the last block of the round.

    `base` are the weights V_(k-1) that round k will be merged onto: they are not settled yet, but `payloads`, what
    was revealed for round k - 1 by identity, decide them. `stale` are V_(k-2), which the round's tickets start from.
    `steps` are all merged steps up to `base`, `tickets` the round's deltas, and `earned` is what each identity earned
    up to round k - 2.
    """

    round: int
    base: Integers
    stale: Integers
    steps: tuple[Integers, ...]
    tickets: tuple[Integers, ...]
    payloads: dict[int, bytes]
    earned: Counter[int]


@dataclass(frozen=True)
class Judge:
    """What a miner knows when it may still choose whether to reveal: the samples, the weights, the tickets."""

    lab: Lab
    record: JobRecord
    tickets: tuple[bytes, ...]
    weights: bytes
    earlier: tuple[bytes, ...]
    last_updates: tuple[Update, ...]

    def credit_alone(self, offer: Offer) -> int:
        """What the update would be credited if nobody else revealed one."""
        settled = self.lab.engine.settle(
            self.lab.task,
            self.weights,
            self.tickets,
            sample_seeds(self.record, JOB_ID),
            self.earlier,
            [Update(offer.cid, len(offer.payload), offer.shares)],
            self.last_updates,
        )
        return settled.credits[0] or 0


@dataclass
class Market:
    """A job's market: `weights` holds V_-2, V_-1, V_0, ..., `earned` units by identity net of bonds lost and fines."""

    lab: Lab
    seed: bytes
    weights: list[bytes] = field(default_factory=list)
    earned: Counter[int] = field(default_factory=Counter)
    prepaid: Counter[int] = field(default_factory=Counter)
    events: list[Settlement] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.weights = [self.lab.facts.weights] * 2
        self._versions = {cid_of(self.lab.facts.weights): self.lab.facts.weights}
        self._record = self._open_job()
        self._payloads: dict[int, bytes] = {}
        self._kept: set[bytes] = set()
        self._earned_before: Counter[int] = Counter()

    @property
    def round(self) -> int:
        return len(self.weights) - 2

    @property
    def escrow(self) -> int:
        """What is left of the job's escrow, units."""
        return self._record.escrow

    def draw_seed(self, label: str, *numbers: int) -> bytes:
        """32 bytes that only the market's seed, the label and the numbers decide."""
        return tagged_hash(f"gc/zoo/{label}", self.seed + b"".join(n.to_bytes(8, "big") for n in numbers))

    def make_rng(self, label: str, *numbers: int) -> np.random.Generator:
        return np.random.default_rng(list(self.draw_seed(label, *numbers)))

    def play_round(
        self,
        make_offers: Callable[[View], Sequence[Offer]],
        reveals: Callable[[Offer, Judge], bool] = lambda offer, judge: True,
    ) -> None:
        """Tickets, commitments, reveals, settlement and payment of the next round."""
        k, base = self.round, self.weights[-2]
        runs = [self.lab.run_ticket(base, self.draw_seed("ticket", k, i)) for i in range(TICKETS)]
        offers = make_offers(self._look(runs))
        self._record = replace(
            self._record,
            sample_hash=self.draw_seed("sample", k),
            pending=(PendingRound(k, tuple((bytes([i]) * 32, bytes(32)) for i in range(TICKETS))),),
        )
        deltas = tuple(run.astype("<i8").tobytes() for run in runs)
        judge = Judge(
            self.lab, self._record, deltas, self.weights[-1], self._load_earlier(), self._list_last()
        )
        self.lab.blobs.update((offer.cid, offer.payload) for offer in offers)
        revealed = [offer for offer in offers if reveals(offer, judge)]
        self._settle(offers, revealed, deltas)
        for cid in self._kept - {offer.cid for offer in offers}:
            self.lab.blobs.pop(cid, None)
        self._kept = {offer.cid for offer in offers}  # one more settlement looks at them
        self._payloads = {offer.identity: offer.payload for offer in revealed}

    def _look(self, runs: Sequence[Integers]) -> View:
        known = [read_integers(weights) for weights in self.weights]
        return View(
            round=self.round,
            base=known[-1],
            stale=known[-2],
            steps=tuple(after - before for before, after in pairwise(known[1:])),
            tickets=tuple(runs),
            payloads=self._payloads,
            earned=self._earned_before,
        )

    def _settle(self, offers: Sequence[Offer], revealed: Sequence[Offer], deltas: tuple[bytes, ...]) -> None:
        k, params = self.round, self.lab.params
        height = (k + 2) * params.round_length  # the job's offset is 0
        state = Overlay(State())
        commitments = tuple(self._commit(offer, k, offer in revealed) for offer in offers)
        state.put_commitments(JOB_ID, k, commitments)
        due = get_due_round(state, JOB_ID, self._record, height, params)
        assert due is not None
        settled = self.lab.verifier.settle(self._make_task(due, deltas)) if due.tickets or revealed else None
        self._record, event = apply_settlement(JOB_ID, self._record, self.lab.spec, due, settled)
        pay_updates(state, event, height, params)
        self._earned_before = self.earned.copy()
        self._book(offers, commitments, sum_income(state.get_income(height + params.maturity)))
        self.events.append(event)
        after = self.weights[-1] if settled is None else settled.weights
        self._versions[cid_of(after)] = after
        self.weights.append(after)

    def _make_task(self, due: DueRound, deltas: tuple[bytes, ...]) -> SettleTask:
        return make_settle_task(
            JOB_ID, self._record, self.lab.spec, due, self._versions.__getitem__, lambda seed: deltas[seed[0]]
        )

    def _commit(self, offer: Offer, k: int, revealed: bool) -> Commitment:
        key = identity_key(offer.identity)
        return Commitment(
            commitment=make_commitment(key, JOB_ID, k, offer.cid, NO_SALT),
            miner=address_of(key),
            shares=offer.shares,
            bond=bond_of(self.lab.spec, offer.shares, self.lab.params),
            prepaid=judging_price(self._record.judging, self.lab.params),
            size=offer.size or len(offer.payload),
            payload=offer.cid if revealed else b"",
        )

    def _book(
        self, offers: Sequence[Offer], commitments: Sequence[Commitment], income: Counter[bytes]
    ) -> None:
        for offer, commitment in zip(offers, commitments, strict=True):
            self.earned[offer.identity] += income[commitment.miner] - commitment.bond
            self.prepaid[offer.identity] += commitment.prepaid

    def _list_last(self) -> tuple[Update, ...]:
        return tuple(Update(*update) for update in self._record.last_updates)

    def _load_earlier(self) -> tuple[bytes, ...]:
        return tuple(self._versions[cid] for cid in self._record.earlier)

    def _open_job(self) -> JobRecord:
        lab, weights = self.lab, cid_of(self.lab.facts.weights)
        return JobRecord(
            owner=bytes(20), spec=encode_spec(lab.spec), submitted=0, status=JobStatus.LIVE, reason=Reason.NONE,
            first_round=0, escrow=ESCROW, lock=0, work=lab.facts.work, judging=lab.facts.judging, version=0,
            weights=weights, earlier=(), last_updates=(), provenance=bytes(32), pending=(), sample_hash=b"", drawn=0,
            lost=0, stall=0, suspended_until=0, first_loss=0, last_losses=(),
        )  # fmt: skip


def identity_key(identity: int) -> bytes:
    """A name in place of a public key: nothing is signed here."""
    return tagged_hash("gc/zoo/identity", identity.to_bytes(8, "big"))


def sum_income(rows: Sequence[tuple[bytes, int]]) -> Counter[bytes]:
    income: Counter[bytes] = Counter()
    for address, amount in rows:
        income[address] += amount
    return income
