"""Miners of a chain: the honest one does what the node does; attackers change one habit each.

The docstring of each attacker says what it tries. All of them know what is public; the grinder knows more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from attack import encode
from chainlab import POWER, World
from lab import Practice

from ledger.blocks import Block
from ledger.keys import KeyPair
from ledger.params import COIN
from ledger.records import JobRecord
from ledger.settlement import apply_settlement, get_due_round, make_settle_task
from ledger.sidecars import most_declared
from ledger.slots import job_height
from ledger.state import Overlay
from ledger.template import Template, build_template
from ledger.transactions import CommitUpdate, RevealUpdate, Transaction
from node.services.kept_updates import KeptUpdate
from node.services.share_box import ShareBox
from node.services.update_plan import blocks_left, end_of_round, is_due, take_shares

Measure = Literal["market", "blocks", "grinding"]

PRACTICE = Practice(steps=8, batch=32)


class Player:
    """An honest miner: mines what is drawn, trains one update a round, reveals it as soon as it may."""

    name: ClassVar[str] = "honest"
    bar: ClassVar[float] = 1.1  # of what `measures` says, an honest miner's in its place being 1
    measures: ClassVar[Measure] = "market"

    def __init__(self, world: World, key: KeyPair, power: float) -> None:
        self.world, self.key, self.power, self.params = world, key, power, world.params
        self.box = ShareBox()
        self.kept: list[KeptUpdate] = []
        self.rng = np.random.default_rng(list(world.draw_seed("player", key.public[0], key.public[1])))
        self._tried = -1  # the last round with an update
        self._turn = 0  # blocks before the round's end at which it is committed

    # on a new head

    def act(self) -> None:
        self._reveal_due()
        self._make_due()
        self._commit_due()

    def _reveal_due(self) -> None:
        pool = {tx.body.payload for tx in self.world.pool.transactions() if isinstance(tx.body, RevealUpdate)}
        for update in self.kept:
            if is_due(self.world.chain, update) and update.payload_cid not in pool:
                self.world.send(self.key, update.make_reveal())

    def _make_due(self) -> None:
        """Train once a round, two to four blocks before its end: trainings take time."""
        world, number = self.world, self.world.round
        left = blocks_left(world.chain, world.job_id, world.height)
        if number == self._tried:
            return
        if left == self.params.round_length:
            self._turn = int(self.rng.integers(2, 5))
        if left <= self._turn:
            self._tried = number
            self.kept = [u for u in self.kept if u.round >= number - 1]
            self.kept.append(self.keep(self.make_payload()))
            world.get_books(self.key).made.append(number)

    def make_payload(self) -> bytes:
        start, lab = self.world.foresee(), self.world.lab
        return encode(lab.train(start, lab.train_images, self.rng, PRACTICE))

    def keep(self, payload: bytes) -> KeptUpdate:
        world, salt = self.world, self.rng.bytes(32)
        update = KeptUpdate(self.key.public, world.job_id, world.round, salt, payload)
        world.chain.blobs.put(payload)
        return update

    def _commit_due(self) -> None:
        for update in self.kept:
            if update.round == self.world.round and not self.is_known(update):
                self.commit(update)

    def is_known(self, update: KeptUpdate) -> bool:
        """Whether a commitment is on the chain or waits."""
        there = Overlay(self.world.chain.state).get_commitments(update.job_id, update.round)
        waiting = self._list_commits()
        return any(c.commitment == update.commitment for c in (*there, *waiting))

    def commit(self, update: KeptUpdate, most: int = 16, times_fee: int = 1) -> None:
        """Send a commitment with as many shares as the node would give it, at most `most`."""
        world = self.world
        shares = take_shares(world.chain, self.box, self._list_commits(), update.round, update.job_id)
        if shares:
            world.send(self.key, update.make_commit(shares[:most]), times_fee)

    def _list_commits(self) -> list[CommitUpdate]:
        return [tx.body for tx in self.world.pool.transactions() if isinstance(tx.body, CommitUpdate)]

    # mining

    def make_template(self, common: tuple[Transaction, ...]) -> Template | None:
        chosen = self.choose_transactions(common)
        return build_template(self.world.chain, self.key.public, chosen, int(self.world.clock_ms))

    def choose_transactions(self, common: tuple[Transaction, ...]) -> tuple[Transaction, ...]:
        return common

    def rate(self, template: Template | None) -> float:
        return 0.0 if template is None else self.power * POWER / self.world.work_of(template)

    def date(self, now_ms: int) -> int:
        return now_ms

    def publishes(self, block: Block) -> bool:
        return True

    def gain(self) -> float:
        """Coins that the attack is worth beside what the books say."""
        return 0.0


class ShareSpammer(Player):
    """Puts each of its shares into a commitment of its own, at ten times the fee: blocks carry four shares."""

    name = "commit spammer, shares"

    def act(self) -> None:
        self._reveal_due()
        self._make_due()
        own = [u for u in self.kept if u.round == self.world.round]
        if not own:
            return
        for _ in range(self.params.block_shares):
            update = replace(own[0], salt=self.rng.bytes(32))
            before = len(self.world.pool)
            self.commit(update, most=1, times_fee=10)
            if len(self.world.pool) == before:
                return
            self.kept.append(update)

    def _make_due(self) -> None:
        self._turn = self.params.round_length  # at once
        super()._make_due()


class RoomSpammer(Player):
    """Declares all the payload bytes that a block's commitments may declare, with one share, and reveals nothing.

    Its own update is committed to in the first block of the round, and so has the round for itself.
    """

    name = "commit spammer, bytes"

    def act(self) -> None:
        self._reveal_due()
        self._make_due()
        mine = [tx.body.size for tx in self._sent() if isinstance(tx.body, CommitUpdate)]
        own = [u for u in self.kept if u.round == self.world.round and not self.is_known(u)]
        for update in own:
            self.commit(update, times_fee=10)
            mine.append(len(update.payload))
        self._fill(most_declared(self.params) - sum(mine))

    def _fill(self, size: int) -> None:
        shares = self.box.choose(self.world.chain, 1, self._taken())
        if shares and size > 0:
            body = CommitUpdate(
                self.world.job_id, self.world.round, self.rng.bytes(32), size, (shares[0].encode(),)
            )
            self.world.send(self.key, body)

    def _sent(self) -> Iterable[Transaction]:
        return [tx for tx in self.world.pool.transactions() if tx.sender == self.key.public]

    def _taken(self) -> frozenset[bytes]:
        return frozenset(share for body in self._list_commits() for share in body.shares)

    def _make_due(self) -> None:
        self._turn = self.params.round_length
        super()._make_due()


class BoundSpammer(RoomSpammer):
    """The same under a rule that is not there: a share may declare its part of a block's payload bytes and no more."""

    name = "commit spammer, bytes, if a share bounded them"

    def _fill(self, size: int) -> None:
        part = most_declared(self.params) // self.params.block_shares
        for _ in range(self.params.block_shares):
            super()._fill(min(size, part))


class RevealCrowder(Player):
    """Commits to the largest payloads that find room, and reveals them all when the window opens."""

    name = "reveal crowder"

    def act(self) -> None:
        self._reveal_due()
        world = self.world
        declared = sum(body.size for body in self._list_commits())
        size = most_declared(self.params) - declared
        shares = self.box.choose(world.chain, 1, frozenset(s for b in self._list_commits() for s in b.shares))
        self.kept = [u for u in self.kept if u.round >= world.round - 1]
        if shares and size > 1000:
            update = self.keep(self.rng.bytes(size))
            world.send(self.key, update.make_commit(tuple(share.encode() for share in shares)))
            self.kept.append(update)


class Censor(Player):
    """Leaves the reveals of others out of its blocks."""

    name = "censoring producer, reveals"
    kinds: ClassVar[tuple[type, ...]] = (RevealUpdate,)

    def choose_transactions(self, common: tuple[Transaction, ...]) -> tuple[Transaction, ...]:
        """What is left of the pool's choice: all later transactions of a sender go with the one left out."""
        blocked, chosen = set(), []
        for tx in common:
            if tx.sender != self.key.public and (tx.sender in blocked or isinstance(tx.body, self.kinds)):
                blocked.add(tx.sender)
            else:
                chosen.append(tx)
        return tuple(chosen)


class FullCensor(Censor):
    """Leaves the commitments and reveals of others out of its blocks."""

    name = "censoring producer, all"
    kinds = (RevealUpdate, CommitUpdate)


class Grinder(Player):
    """Keeps a block to itself if the samples that its hash draws pay it less than a new draw is likely to.

    It knows all payloads, which no attacker does before they are revealed: the most that grinding can bring.
    """

    name = "grinding producer"
    measures = "grinding"
    TRIES = 6  # hashes to learn from what a draw pays on average

    def __init__(self, world: World, key: KeyPair, power: float) -> None:
        super().__init__(world, key, power)
        self._gains: list[float] = []

    def act(self) -> None:
        """Note what grinding would have brought at every sample's block, whoever found it."""
        world, head = self.world, self.world.chain.head
        if (
            job_height(world.job_id, head.height, self.params) % self.params.round_length
            == self.params.sample_delay
        ):
            self._gains.append(max(0.0, self.regret(head.hash)) / COIN)
        super().act()

    def gain(self) -> float:
        """Of all rounds: it finds a sample's block as often as any other, and only then can it choose."""
        return self.power * sum(self._gains)

    def regret(self, sample_hash: bytes) -> float:
        """Units by which a new draw is likely to beat this one, a lost coinbase counted."""
        usual = float(np.mean([self.value(self.rng.bytes(32)) for _ in range(self.TRIES)]))
        lost = self.params.coinbase * (1 - self.power)  # if it finds the next one first, it lost nothing
        return usual - self.value(sample_hash) - lost

    def publishes(self, block: Block) -> bool:
        world = self.world
        if (
            job_height(world.job_id, block.header.work.height, self.params) % self.params.round_length
            != self.params.sample_delay
        ):
            return True
        return self.regret(block.hash) <= 0

    def value(self, sample_hash: bytes) -> int:
        """What its update of the round before is paid if this hash draws the samples, units."""
        world, state = self.world, Overlay(self.world.chain.state)
        number, height = world.round - 1, end_of_round(world.chain, world.job_id)
        payloads = {u.commitment: u.payload_cid for p in world.players for u in p.kept}  # type: ignore[attr-defined]
        there = state.get_commitments(world.job_id, number)
        known = tuple(replace(c, payload=payloads.get(c.commitment, b"")) for c in there)
        state.put_commitments(world.job_id, number, known)
        record: JobRecord = replace(world.record, sample_hash=sample_hash)
        due = get_due_round(state, world.job_id, record, height, self.params)
        if due is None or not due.revealed:
            return 0
        spec, rules = world.spec, world.chain.rules
        task = make_settle_task(world.job_id, record, spec, due, rules.load_weights, rules.load_delta)
        _, event = apply_settlement(world.job_id, record, spec, due, rules.verifier.settle(task))
        own = self.key.address
        return sum(r.amount for r in event.updates if r.update.miner == own and r.outcome == "paid")


class SlotHopper(Player):
    """Mines only at the heights that are drawn for the job, and rests at the heartbeat's."""

    name = "slot hopper, job only"
    measures = "blocks"

    def make_template(self, common: tuple[Transaction, ...]) -> Template | None:
        template = super().make_template(common)
        return template if template is not None and self.likes(template) else None

    def likes(self, template: Template) -> bool:
        return template.spec is not None


class HeartbeatHopper(SlotHopper):
    """Mines only at the heights that are drawn for the heartbeat."""

    name = "slot hopper, heartbeat only"

    def likes(self, template: Template) -> bool:
        return template.spec is None


class OffSlotMiner(Player):
    """Mines the heartbeat whatever is drawn, where its threshold is a quarter."""

    name = "job chooser, never the job"
    measures = "blocks"

    def make_template(self, common: tuple[Transaction, ...]) -> Template | None:
        return build_template(
            self.world.chain, self.key.public, common, int(self.world.clock_ms), heartbeat=True
        )


class DifficultyHopper(SlotHopper):
    """Mines only while the target is no lower than the start target, which is right for everybody's power."""

    name = "target hopper"

    def likes(self, template: Template) -> bool:
        return template.work.target >= self.params.start_target


class LateLiar(Player):
    """Dates its blocks as far ahead as clocks allow: the next target is easier."""

    name = "time liar, ahead"
    measures = "blocks"

    def date(self, now_ms: int) -> int:
        return now_ms + self.params.future_intervals * self.params.interval_ms


class EarlyLiar(Player):
    """Dates its blocks right after their parents: the next target is harder."""

    name = "time liar, back"
    measures = "blocks"

    def date(self, now_ms: int) -> int:
        return 0


class LyingHopper(LateLiar):
    """Dates its blocks ahead, and mines only while the target is easy."""

    name = "time liar, ahead, and target hopper"

    def make_template(self, common: tuple[Transaction, ...]) -> Template | None:
        template = super().make_template(common)
        return template if template is not None and template.work.target >= self.params.start_target else None
