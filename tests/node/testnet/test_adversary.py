"""The adversaries of local networks: how they are asked for, where they may run, and what each commits to."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from node.exits import Exit, UserError
from node.services.chain_service import ChainService
from node.services.kept_updates import KeptUpdate, KeptUpdates
from node.services.share_box import ShareBox
from node.services.update_maker import UpdateMaker
from node.services.update_plan import Plan
from node.testnet.adversary import check
from node.testnet.attacks import ATTACKS, parse_attacks
from node.testnet.bad_makers import MAKERS
from node.testnet.state import TestnetError
from node.trainer.client import TrainingRefused
from node.trainer.requests import Trained, TrainRequest
from node.wallet import WalletAccount
from tests.ledger.chain_builder import ALICE, BOB, ChainBuilder
from tests.ledger.market_builder import (
    find_share,
    make_update,
    market_spec,
    mine_to_settlement,
    mine_to_window,
    open_market,
)
from tests.node.live import make_settings
from training.payload import decode_payload, encode_payload

COUNT = 640
DELTA = np.arange(-320, 320, dtype=np.int64) * 100


class RecordingTrainer:
    """Answers with one payload; what it was asked is at hand."""

    def __init__(self) -> None:
        self.asked: list[TrainRequest] = []

    async def warm_up(self) -> None: ...

    async def train(self, request: TrainRequest) -> Trained:
        self.asked.append(request)
        return Trained(encode_payload(DELTA, 4096, 8), 1.0, 2.0, 1.0, 5, "adam")


def make_plan(job: bytes = bytes(32)) -> Plan:
    return Plan(job, 3, market_spec(), bytes(8 * COUNT), b"", 1.0, 50_000)


def make_maker(name: str, builder: ChainBuilder, trainer: RecordingTrainer) -> UpdateMaker:
    account = WalletAccount("alice", "rgc1alice", ALICE)
    kept = KeptUpdates(builder.folder)
    return MAKERS[name](
        ChainService(builder.chain), trainer, account, kept, ShareBox(), lambda: True, enabled=False
    )


@pytest.fixture
def builder(tmp_path: Path) -> ChainBuilder:
    return ChainBuilder(tmp_path)


@pytest.fixture
def trainer() -> RecordingTrainer:
    return RecordingTrainer()


def test_adversaries_are_asked_for_by_name_and_number() -> None:
    assert parse_attacks("copier=1,noise=2") == {"copier": 1, "noise": 2}
    assert parse_attacks("lazy, flip=3") == {"lazy": 1, "flip": 3}


@pytest.mark.parametrize("text", ["thief=1", "copier=0", "copier=-1", "copier=x", "", "noise=1,noise=2"])
def test_unknown_adversaries_are_refused_with_the_list(text: str) -> None:
    with pytest.raises(TestnetError) as caught:
        parse_attacks(text)
    assert caught.value.exit_code == Exit.USAGE
    assert all(name in caught.value.hint for name in ATTACKS)


def test_every_adversary_that_can_be_asked_for_has_a_maker() -> None:
    assert list(MAKERS) == list(ATTACKS)


@pytest.mark.parametrize("chain", ["regtest", "testnet", "mainnet"])
def test_adversary_refuses_other_chains_than_local(tmp_path: Path, chain: str) -> None:
    settings = replace(make_settings(tmp_path, "node", True), chain=chain)
    with pytest.raises(UserError, match="local preset only"):
        check("noise", settings)
    check("noise", replace(settings, chain="local"))


async def test_noise_is_a_payload_of_the_job_and_asks_no_trainer(
    builder: ChainBuilder, trainer: RecordingTrainer
) -> None:
    made = await make_maker("noise", builder, trainer)._train(make_plan())
    assert decode_payload(made.payload, COUNT).any()
    assert trainer.asked == []


async def test_flip_turns_the_sign_of_what_was_trained(
    builder: ChainBuilder, trainer: RecordingTrainer
) -> None:
    honest = (await trainer.train(cast(TrainRequest, None))).payload
    made = await make_maker("flip", builder, trainer)._train(make_plan())
    assert np.abs(decode_payload(made.payload, COUNT) + decode_payload(honest, COUNT)).max() < 1000
    assert decode_payload(made.payload, COUNT)[0] > 0


async def test_lazy_asks_for_one_step(builder: ChainBuilder, trainer: RecordingTrainer) -> None:
    await make_maker("lazy", builder, trainer)._train(make_plan())
    assert [request.steps for request in trainer.asked] == [1]


async def test_copier_takes_the_payload_that_was_credited_most(
    builder: ChainBuilder, trainer: RecordingTrainer
) -> None:
    job = open_market(builder)
    copier = make_maker("copier", builder, trainer)
    with pytest.raises(TrainingRefused, match="nothing to copy"):
        await copier._train(make_plan(job))
    update = make_update(builder, job, BOB)
    builder.mine(builder.sign(BOB, update.commit(find_share(builder, BOB)), fee=100_000))
    mine_to_window(builder, update)
    builder.mine(builder.sign(BOB, update.reveal(), fee=0))
    mine_to_settlement(builder, update)
    assert (await copier._train(make_plan(job))).payload == update.payload


async def test_hider_sends_nothing_when_a_reveal_is_due(
    builder: ChainBuilder, trainer: RecordingTrainer
) -> None:
    maker = make_maker("hider", builder, trainer)
    await maker._reveal(KeptUpdate(ALICE.public, bytes(32), 1, bytes(32), b"payload"))
    assert len(maker._chain.mempool) == 0
    assert maker.stats.revealed == 0


def test_daemon_knows_no_adversary() -> None:
    """The node's own program loads none of this: attacks stay out of what runs on real networks."""
    code = (
        "import sys, node.app, node.__main__; print([m for m in sys.modules if m.startswith('node.testnet')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
