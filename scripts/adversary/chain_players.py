"""The honest miner of a chain: it plans commitments, shares and reveals with the node's own code.

Attackers (chain_attackers.py) change one habit of it each.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from attack import encode
from chainlab import POWER, World
from lab import Practice

from ledger.blocks import Block
from ledger.keys import KeyPair
from ledger.state import Overlay
from ledger.template import Template, build_template
from ledger.transactions import CommitUpdate, RevealUpdate, Transaction
from node.services.kept_updates import KeptUpdate
from node.services.share_box import ShareBox
from node.services.update_plan import blocks_left, is_due, take_shares

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
        known = {c.commitment for c in there} | {c.commitment for c in self._list_commits()}
        return update.commitment in known

    def commit(self, update: KeptUpdate, most: int = 16, times_fee: int = 1) -> None:
        """Send a commitment with as many shares as the node would give it, at most `most`."""
        world = self.world
        shares = take_shares(world.chain, self.box, self._list_commits(), update)
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
