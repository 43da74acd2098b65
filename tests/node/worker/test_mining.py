"""Trying nonces, without a process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from ledger.blocks import Header
from ledger.genesis import Genesis
from ledger.jobspec import encode_spec
from ledger.params import REGTEST
from ledger.work import TicketRun, TicketTask
from node.work import EngineVerifier
from node.worker import loop as loop_module
from node.worker.loop import Loop
from node.worker.mining import STUCK_AFTER, MiningRound, decode_mining, encode_mining
from node.worker.wire import Frame
from tests.ledger.chain_builder import make_spec
from tests.node.worker.real import make_work

JOB_ID = bytes(range(32))
TEMPLATE = MiningRound(1, make_work(1, JOB_ID), 0, make_spec(), b"weights", 5)


@dataclass
class OneResult:
    """Every run ends like this, or raises."""

    before: int = 10
    after: int = 20
    error: Exception | None = None
    heartbeat_work: int = 1 << 24

    def run(self, task: TicketTask) -> TicketRun:
        if self.error is not None:
            raise self.error
        return TicketRun(bytes(32), self.before, self.after, b"delta")


class Written(list[Frame]):
    """What a loop says, instead of a pipe."""

    def kinds(self) -> list[str]:
        return [frame[1] for frame in self]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    frames = Written()
    monkeypatch.setattr(loop_module, "write_frame", lambda descriptor, frame: frames.append(frame))
    return frames


def make_loop(verifier: OneResult) -> Loop:
    reader: Any = None  # no test reads
    return Loop(reader, 1, Genesis(REGTEST), cast(EngineVerifier, verifier))


def mine_frame(template: MiningRound, number: int) -> Frame:
    spec = encode_spec(template.spec) if template.spec else b""
    return [0, "mine", *encode_mining(number, template.work, 0, spec, template.weights, 0)]


def test_encoded_round_decodes_to_itself() -> None:
    _, _, *arguments = mine_frame(TEMPLATE, 7)
    assert decode_mining(arguments, REGTEST) == replace(TEMPLATE, number=7, nonce=0)


def test_nonce_after_the_last_is_zero() -> None:
    round_ = replace(TEMPLATE, nonce=2**64 - 1)
    round_.try_next(cast(EngineVerifier, OneResult()))
    assert round_.nonce == 0


def test_valid_run_clears_the_count_of_invalid_ones() -> None:
    round_ = replace(TEMPLATE)
    for _ in range(STUCK_AFTER - 1):
        assert round_.try_next(cast(EngineVerifier, OneResult())) is None
    round_.try_next(cast(EngineVerifier, OneResult(after=5)))
    round_.try_next(cast(EngineVerifier, OneResult()))
    assert not round_.is_stuck
    assert round_.take_counts() == (STUCK_AFTER + 1, 1)
    assert round_.take_counts() == (0, 0)


def test_renewed_template_does_not_forget_invalid_runs(written: Written) -> None:
    """Else a job whose runs are slow and never valid would be mined for ever: templates are renewed every second."""
    loop = make_loop(OneResult())
    for number in range(1, STUCK_AFTER + 1):
        loop.handle(mine_frame(TEMPLATE, number))
        loop.mine_once()
    assert written.kinds()[-1] == "stuck"
    assert written[-1][2] == STUCK_AFTER


def test_template_on_another_head_starts_a_new_count(written: Written) -> None:
    loop = make_loop(OneResult())
    for number in range(1, 2 * STUCK_AFTER):
        work = replace(TEMPLATE.work, parent=bytes([number]) * 32)
        loop.handle(mine_frame(replace(TEMPLATE, work=work), number))
        loop.mine_once()
    assert "stuck" not in written.kinds()


def test_job_whose_run_fails_in_an_unforeseen_way_is_stuck_and_ends_nothing(written: Written) -> None:
    loop = make_loop(OneResult(error=ZeroDivisionError("unforeseen")))
    loop.handle(mine_frame(TEMPLATE, 1))
    loop.mine_once()
    assert written[-1] == [0, "stuck", 1, "unforeseen"]


def test_job_that_fails_again_in_the_same_way_is_logged_once(
    written: Written, caplog: pytest.LogCaptureFixture
) -> None:
    loop = make_loop(OneResult(error=ValueError("odd")))
    for number in range(1, 4):
        loop.handle(mine_frame(TEMPLATE, number))
        loop.mine_once()
    assert written.kinds() == ["stuck"] * 3
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_heartbeat_that_fails_ends_the_process(written: Written) -> None:
    loop = make_loop(OneResult(error=ZeroDivisionError("unforeseen")))
    loop.handle(mine_frame(replace(TEMPLATE, spec=None), 1))
    with pytest.raises(ZeroDivisionError):
        loop.mine_once()


def test_share_is_told_and_mining_goes_on(written: Written) -> None:
    loop = make_loop(OneResult(after=5))
    frame = mine_frame(TEMPLATE, 1)
    run = OneResult(after=5).run(TicketTask(bytes(32), bytes(32), None, b""))
    ticket = Header(replace(TEMPLATE.work, nonce=0), run.digest, run.before, run.after).ticket
    frame[4] = (ticket // 4).to_bytes(32, "big")  # the threshold
    loop.handle(frame)
    loop.mine_once()
    loop.mine_once()
    assert "found" not in written.kinds()
    shares = [frame for frame in written if frame[1] == "share"]
    assert shares[0][2:] == [1, 0, run.digest, (10).to_bytes(16, "big"), (5).to_bytes(16, "big"), b"delta"]


def test_found_block_ends_mining_until_the_next_template(written: Written) -> None:
    loop = make_loop(OneResult(after=5))
    frame = mine_frame(TEMPLATE, 1)
    frame[4] = b"\xff" * 32  # the threshold
    loop.handle(frame)
    loop.mine_once()
    loop.mine_once()
    assert written.kinds() == ["mined", "found"]
    assert written[-1][2:4] == [1, 0]
