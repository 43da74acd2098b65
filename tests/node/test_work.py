"""What a refusal by the engine means to the ledger: a verdict on a new job, a fault of ours on an accepted one."""

from dataclasses import replace

import pytest

from ledger.errors import LedgerError
from ledger.jobspec import JobSpec
from ledger.settlement import STEPS_KEPT
from ledger.work import SettleTask, TicketTask, WorkRefused
from node.work import EngineVerifier
from tests.training.problems import SEED, make_problem
from training.merge import STEPS_KNOWN

PROBLEM = make_problem("softmax_regression", (9, 5, 0, 1), shard=8, rates=((1, 9),))
SPEC = JobSpec(
    title="work",
    **{name: getattr(PROBLEM.task, name) for name in type(PROBLEM.task).__dataclass_fields__},
    price=0,
    budget=0,
    burn=1,
    target=0,
    lifetime=1,
    market_only=0,
    evaluation=b"",
)
WRONG = replace(SPEC, data_size=SPEC.data_size + 1)


def test_ledger_keeps_as_many_steps_as_the_engine_takes_out() -> None:
    assert STEPS_KEPT == STEPS_KNOWN


def test_refused_submission_is_a_verdict() -> None:
    with pytest.raises(WorkRefused, match="data_size"):
        EngineVerifier(PROBLEM.make_engine("portable")).inspect(WRONG)


def test_refusal_of_an_accepted_job_is_our_own_fault() -> None:
    verifier = EngineVerifier(PROBLEM.make_engine("portable"))
    task = TicketTask(SEED, SEED, SPEC, PROBLEM.weights)
    delta = verifier.run(task).delta
    with pytest.raises(LedgerError, match="data_size"):
        verifier.run(replace(task, spec=WRONG))
    with pytest.raises(LedgerError, match="data_size"):
        verifier.settle(SettleTask(WRONG, PROBLEM.weights, (), (delta,), (), (), (SEED, SEED, SEED)))
