"""What attackers of a chain do otherwise than the honest miner of chain_players.py: one habit each.

The docstring of each says what it tries. All of them know what is public; the grinder knows more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

import numpy as np
from chain_players import Player
from chainlab import World

from ledger.blocks import Block
from ledger.keys import KeyPair
from ledger.params import COIN
from ledger.records import JobRecord
from ledger.settlement import apply_settlement, get_due_round, make_settle_task
from ledger.sidecars import most_committed
from ledger.slots import job_height
from ledger.state import Overlay
from ledger.template import Template, build_template
from ledger.transactions import CommitUpdate, RevealUpdate, Transaction
from node.services.update_plan import end_of_round


class ShareSpammer(Player):
    """Puts each of its shares into a commitment of its own, at ten times the fee: a block has room for so many."""

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
    """Declares with every share all the payload bytes that it may, at a high fee for a byte, and reveals nothing.

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
        for _ in range(self.params.block_shares - len(mine)):
            self._fill(most_committed(1, self.params))

    def _fill(self, size: int) -> None:
        shares = self.box.choose(self.world.chain, 1, self._taken())
        if shares:
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


class RevealCrowder(Player):
    """Commits to the largest payloads that find room, and reveals them all when the window opens."""

    name = "reveal crowder"

    def act(self) -> None:
        self._reveal_due()
        world = self.world
        taken = frozenset(share for body in self._list_commits() for share in body.shares)
        shares = self.box.choose(world.chain, self.params.block_shares // 2, taken)
        size = most_committed(len(shares), self.params)
        self.kept = [u for u in self.kept if u.round >= world.round - 1]
        if shares:
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
        if number < 0:  # the job has just come
            return 0
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
