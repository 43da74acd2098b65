"""The chain zoo in short: a round or two of the attacks, the shortcut's digests, what a forged header costs."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.scripts.loading import SCRIPTS, load

FOLDER = SCRIPTS / "adversary"
MODULES = (  # each after those that it imports
    *(
        "lab",
        "market",
        "attack",
        "copiers",
        "idlers",
        "pleasers",
        "identities",
        "harm",
        "attacks",
        "trial",
        "summary",
    ),
    *(
        "planted",
        "zoo",
        "chainlab",
        "chain_players",
        "chain_attackers",
        "chain_trial",
        "chain_summary",
        "forgery",
    ),
    *("shortcuts", "limits", "chain_zoo"),
)


@pytest.fixture(scope="module")
def zoo() -> Iterator[dict[str, ModuleType]]:
    path = list(sys.path)
    yield {name: load(FOLDER / f"{name}.py") for name in MODULES}
    sys.path[:] = path
    for name in MODULES:
        del sys.modules[name]


def play(zoo: dict[str, ModuleType], name: str, seed: int = 1, rounds: int = 1) -> Any:  # Any: loaded by path
    [case] = [case for case in zoo["chain_trial"].CASES if case.name == name]
    return zoo["chain_trial"].play_chain(case, seed, rounds)


def test_same_seed_gives_the_same_chain(zoo: dict[str, ModuleType]) -> None:
    name = "time liar, ahead, 25 %"
    assert play(zoo, name, rounds=0) == play(zoo, name, rounds=0)


def test_spammer_of_declared_bytes_leaves_room_for_others(zoo: dict[str, ModuleType]) -> None:
    trial = play(zoo, "commit spammer, bytes, 1/9", rounds=2)
    assert trial.made > 0
    assert trial.landed > trial.made / 2


def test_owner_of_keys_with_zeros_saves_half_of_their_products_at_most(zoo: dict[str, ModuleType]) -> None:
    shortcuts = zoo["shortcuts"]
    job = shortcuts.Degenerate("small", 8, 32, 16, 8, steps=2)
    found = shortcuts.measure_shortcut(job)
    assert shortcuts.count_products(job) == (2 * 8 * (2 * 8 * 16 + 2 * 16 * 32), 2 * 8 * (8 * 16 + 16 * 32))
    assert found.owner_ms < found.engine_ms
    task, blob = shortcuts.make_task(job)
    assert len(blob) == task.data_size


def test_forged_header_costs_a_node_one_replay_and_moves_nothing(zoo: dict[str, ModuleType]) -> None:
    forgery = zoo["forgery"]
    world = forgery.mine_heartbeats(0, 6)
    try:
        head, balance = world.chain.head.hash, world.chain.state.root
        assert forgery.send_header(world) == 1
        found = forgery.send_branch(world, 4)
        assert (found.replays, found.fork) == (1, 4)
        assert found.kept == 1  # a job's; the heartbeat after it was found out
        assert (world.chain.head.hash, world.chain.state.root) == (head, balance)
    finally:
        world.close()


def test_verdicts_ask_for_room_in_proportion_to_work(zoo: dict[str, ModuleType]) -> None:
    summary = zoo["chain_summary"]

    def judge(mean: float, low: float, landed: float) -> str:
        row = summary.ChainRow(
            "a", 3, "market", mean, low, 9.0, bar=1.1, power=0.4, landed=landed, landed_before=1.0, lost=0,
            committed=9, measured="",
        )  # fmt: skip
        return str(row.verdict)

    assert judge(1.0, 0.9, 0.6) == summary.HELD
    assert judge(1.2, 1.0, 0.6) == summary.NOISE
    assert judge(1.3, 1.2, 0.6) == summary.BROKEN
    assert judge(0.5, 0.4, 0.5) == summary.BROKEN


def test_zoo_writes_a_table_that_it_can_print_again(
    zoo: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, name = tmp_path / "chains.json", "slot hopper, job only, 1/9"
    chosen = ["--seeds", "1", "--rounds", "1", "--jobs", "1", "--attack", name]
    assert zoo["chain_zoo"].main([*chosen, "--json", str(file)]) == 0
    written = capsys.readouterr().out
    assert zoo["chain_zoo"].main(["--table", str(file)]) == 0
    assert capsys.readouterr().out == written
    value = json.loads(file.read_text())
    assert [row["attack"] for row in value["rows"]] == [name]
    assert [chain["case"] for chain in value["chains"]] == ["honest, 1/9", name]
