"""The attack zoo in short: one seed, few rounds, the attacks that must earn nothing whatever is drawn."""

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
    *("lab", "market", "attack", "copiers", "idlers", "pleasers", "identities", "harm", "attacks"),
    *("trial", "summary", "planted", "zoo"),
)
SEED, ROUNDS = 1, 2


@pytest.fixture(scope="module")
def zoo() -> Iterator[dict[str, ModuleType]]:
    path = list(sys.path)
    yield {name: load(FOLDER / f"{name}.py") for name in MODULES}
    sys.path[:] = path
    for name in MODULES:
        del sys.modules[name]


@pytest.mark.parametrize(
    "name",
    [
        "copy the tickets",
        "noise",
        "sign flip",
        "NaN bytes",
    ],
)
def test_attack_without_use_earns_nothing(zoo: dict[str, ModuleType], name: str) -> None:
    trial = zoo["trial"].run_trial(name, SEED, ROUNDS)
    assert trial.honest_income > 0
    assert trial.per_identity <= zoo["attacks"].list_attacks()[name].bar.most


def test_what_is_not_revealed_costs_its_bonds(zoo: dict[str, ModuleType]) -> None:
    trial = zoo["trial"].run_trial("never reveal", SEED, 2)
    lab = zoo["lab"].get_lab()
    bond = lab.spec.budget * zoo["attack"].SHARES // (lab.params.bond_divisor * lab.params.round_length)
    assert trial.income == -2 * bond / zoo["lab"].COIN


def test_miners_see_the_weights_that_their_updates_are_merged_onto(zoo: dict[str, ModuleType]) -> None:
    attack, market = zoo["attack"], zoo["attack"].make_market(SEED)
    seen = []

    def make_offers(view: Any) -> Any:  # Any: of modules that are loaded by path
        seen.append(view)
        return attack.make_honest_offers(market, view)

    for _ in range(2):
        market.play_round(make_offers)
    merged, step = zoo["lab"].read_integers(market.weights[-2]), seen[1].steps[-1]
    assert (seen[1].base == merged).all()
    assert (seen[1].base - seen[1].stale == step).all()
    assert step.any()


def test_same_seed_gives_the_same_trial(zoo: dict[str, ModuleType]) -> None:
    run = zoo["trial"].run_trial
    assert run("sharpen", SEED, 1) == run("sharpen", SEED, 1)


def test_owner_of_a_planted_job_pays_itself_and_the_costs(zoo: dict[str, ModuleType]) -> None:
    planted = zoo["planted"]
    lab = zoo["lab"].get_lab()
    alone = planted.play_owner(lab, planted.find_optimum(lab), honest=False)
    assert alone.earned == alone.paid > 0
    assert alone.net == -alone.costs < 0


def test_verdicts_tell_noise_from_a_broken_bar(zoo: dict[str, ModuleType]) -> None:
    summary, trial = zoo["summary"], zoo["trial"]

    def make(attack: str, seed: int, income: float) -> object:
        return trial.Trial(attack, seed, 1, 8, income, 10.0, 1.0, 0.9)

    clean = [make(trial.CLEAN, seed, 0.0) for seed in range(4)]

    def judge(*incomes: float) -> str:
        found = [make("noise", seed, income) for seed, income in enumerate(incomes)]
        return str(summary.summarise([*clean, *found])[0].verdict)

    assert judge(-1, 0, 0, 0.1) == summary.HELD
    assert judge(-9, 20, -9, 20) == summary.NOISE
    assert judge(9, 10, 9, 10) == summary.BROKEN


def test_luck_of_the_control_raises_bars_of_an_income_and_no_others(zoo: dict[str, ModuleType]) -> None:
    summary, trial = zoo["summary"], zoo["trial"]

    def judge(income: float, attack: str, control: float) -> str:
        tried = ((trial.CLEAN, 0.0), ("honest", control), (attack, income))
        found = [
            trial.Trial(name, seed, 1, 8, earned, 10.0, 1.0, 0.9) for seed in (0, 1) for name, earned in tried
        ]
        return str({row.attack: row.verdict for row in summary.summarise(found)}[attack])

    assert judge(12, "over-scale x8", control=13) == summary.HELD
    assert judge(12, "over-scale x8", control=8) == summary.BROKEN
    assert judge(1, "noise", control=30) == summary.BROKEN


def test_zoo_writes_a_table_that_it_can_print_again(
    zoo: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "zoo.json"
    arguments = ["--seeds", "1", "--rounds", "1", "--jobs", "1", "--attack", "noise", "--json", str(file)]
    assert zoo["zoo"].main(arguments) == 0
    written = capsys.readouterr().out
    assert zoo["zoo"].main(["--table", str(file)]) == 0
    assert capsys.readouterr().out == written
    value = json.loads(file.read_text())
    assert value["command"] == "scripts/adversary/zoo.py --seeds 1 --rounds 1 --attack noise"
    assert [row["attack"] for row in value["rows"]] == ["noise"]
    assert [trial["attack"] for trial in value["incomes"]] == ["no attack", "noise"]
