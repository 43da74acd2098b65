"""`confirmations` and `cost`: answers without a node, in words and in JSON."""

import json

import pytest

from node.exits import Exit
from tests.node.cli.conftest import Cli

COST = ("cost", "--params", "1.75e11", "--tokens", "3.2e6", "--nodes", "100", "--price", "0.1")


def test_confirmations_names_the_number_to_wait_for(cli: Cli) -> None:
    ran = cli("confirmations", "--attacker", "0.1")
    assert ran.code == Exit.DONE
    assert "2  0.0123457  0.0509779  0.0560000" in ran.out
    assert ran.out.splitlines()[-1].split()[-1] == "6"


def test_confirmations_in_json_adds_the_row_that_is_enough(cli: Cli) -> None:
    answer = json.loads(cli("confirmations", "--attacker", "0.3", "--json").out)
    assert answer["confirmations"] == 32
    assert [row["confirmations"] for row in answer["table"]] == [*range(1, 11), 32]
    assert answer["table"][-1]["exact"] <= 0.001
    assert answer["table"][4]["nakamoto"] == pytest.approx(0.1773523, abs=1e-7)


@pytest.mark.parametrize(("attacker", "reason"), [("0.6", "majority overtakes any"), ("0.499", "too near")])
def test_confirmations_says_where_no_number_is_enough(cli: Cli, attacker: str, reason: str) -> None:
    assert reason in cli("confirmations", "--attacker", attacker).out
    assert json.loads(cli("confirmations", "--attacker", attacker, "--json").out)["confirmations"] is None


@pytest.mark.parametrize(
    "wrong", [("--attacker", "1.5"), ("--attacker", "nan"), ("--attacker", "0.1", "--risk", "0")]
)
def test_confirmations_refuses_what_is_no_probability(cli: Cli, wrong: tuple[str, ...]) -> None:
    ran = cli("confirmations", *wrong)
    assert ran.code == Exit.USAGE
    assert "expected, got" in ran.err


def test_cost_prints_every_term(cli: Cli) -> None:
    ran = cli(*COST)
    assert ran.code == Exit.DONE
    assert "energy of a gradient" in ran.out
    assert "1.867" in ran.out
    terms = json.loads(cli(*COST, "--json").out)["terms"]
    assert len(terms) == 12
    assert terms["block_price"] == pytest.approx(18.6667, abs=1e-3)


def test_cost_without_sense_is_refused(cli: Cli) -> None:
    ran = cli(*COST[:-1], "-2")
    assert ran.code == Exit.USAGE
    assert "price: a number above 0 expected, got -2" in ran.err
