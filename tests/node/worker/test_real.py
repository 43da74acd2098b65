"""The real training process: the same bits as an engine at hand, while it mines, and no longer than its node."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trio

from ledger.blocks import Header
from ledger.errors import MissingBlobs
from ledger.hashing import cid_of, tagged_hash
from ledger.jobspec import JobSpec, encode_spec, trial_seed
from ledger.tranches import decode_tranche
from ledger.work import RevealedUpdate, SettleTask, TicketRun, TicketTask, WorkRefused
from node.testnet.process import read_start
from node.work import EngineVerifier
from node.work import task_of as read_task
from node.worker.client import JobFileRefused, ParentJob, PreparedReply, Score, read_run
from tests.node.worker.real import GENESIS, JOB_FILE, WAIT_S, RealWorker, make_work
from tests.node.worker.test_process import until
from training.payload import encode_payload

JOB_ID = tagged_hash("test", b"job")
SECRET = tagged_hash("test", b"secret")
PARENT = GENESIS.chain_id

# Prints while torch is imported, before anything of ours could stop it.
NOISE = """
import os, sys
class Noisy:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "numba"):
            os.write(1, b"noise on standard output" * 10)
            print("and from Python", flush=True)
sys.meta_path.insert(0, Noisy())
"""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealWorker]:
    noise = tmp_path_factory.mktemp("noise")
    (noise / "sitecustomize.py").write_text(NOISE)
    started = RealWorker(tmp_path_factory.mktemp("worker"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(noise), *sys.path]))
        started.client.start()
    yield started
    started.client.stop()
    assert not started.client.alive


@pytest.fixture(scope="module")
def spec(worker: RealWorker) -> JobSpec:
    return worker.put_job()


@pytest.fixture(scope="module")
def engine(worker: RealWorker) -> EngineVerifier:
    return worker.make_engine()


@pytest.fixture(autouse=True)
def rest(worker: RealWorker) -> Iterator[None]:
    yield
    worker.client.rest()
    worker.events.clear()


def task_of(spec: JobSpec, weights: bytes, number: int) -> TicketTask:
    return TicketTask(tagged_hash("test", bytes([number])), PARENT, spec, weights)


def test_noise_on_standard_output_does_not_break_frames(worker: RealWorker) -> None:
    assert worker.client.alive
    assert worker.client.restarts == 0
    assert "noise on standard output" in (worker.folder / "worker.log").read_text()


def test_process_tells_the_heartbeats_work(worker: RealWorker, engine: EngineVerifier) -> None:
    assert worker.client.heartbeat_work == engine.heartbeat_work


def test_inspect_run_and_settle_give_the_same_bits_as_an_engine_at_hand(
    worker: RealWorker, engine: EngineVerifier, spec: JobSpec
) -> None:
    facts = worker.client.inspect(spec)
    assert facts == engine.inspect(spec)
    tasks = [task_of(spec, facts.weights, number) for number in range(3)]
    runs = [worker.client.run(task) for task in tasks]
    assert runs == [engine.run(task) for task in tasks]
    heartbeat = TicketTask(tagged_hash("test", b"heartbeat"), PARENT, None, b"")
    assert worker.client.run(heartbeat) == engine.run(heartbeat)
    merge = make_settle_task(worker, spec, facts.weights, runs)
    settled = worker.client.settle(merge)
    assert settled == engine.settle(merge)
    credit, void = settled.credits
    assert credit is not None
    assert void is None


def make_settle_task(worker: RealWorker, spec: JobSpec, weights: bytes, runs: list[TicketRun]) -> SettleTask:
    """Return a settlement of tickets, of an update that is another run's delta, and of one that is void."""
    delta = np.frombuffer(runs[-1].delta, "<i8")
    payloads = (encode_payload(delta, 4096, 8), b"void")
    updates = tuple(RevealedUpdate(worker.blobs.put(p), len(p), 1 + i) for i, p in enumerate(payloads))
    seeds = [tagged_hash("test", b"sample" + bytes([i])) for i in range(3)]
    deltas = tuple(run.delta for run in runs[:-1])
    return SettleTask(spec, weights, (weights,), deltas, updates, updates[:1], (seeds[0], seeds[1], seeds[2]))


def test_refused_spec_and_missing_data_come_back_as_what_they_are(worker: RealWorker, spec: JobSpec) -> None:
    with pytest.raises(WorkRefused):
        worker.client.inspect(replace(spec, objective="unheard-of"))
    with pytest.raises(MissingBlobs) as missing:
        worker.client.inspect(replace(spec, data_cid=cid_of(b"not there")))
    assert missing.value.cids == (cid_of(b"not there"),)


@pytest.mark.parametrize("kind", ["heartbeat", "job"])
def test_mining_at_an_easy_target_finds_a_block_that_the_verifier_confirms(
    worker: RealWorker, engine: EngineVerifier, spec: JobSpec, kind: str
) -> None:
    mined = spec if kind == "job" else None
    weights = worker.client.inspect(spec).weights if mined else b""
    work = make_work(2, JOB_ID) if mined else worker.make_heartbeat(1)
    worker.mine(work, GENESIS.params.start_target // 2, mined, weights)
    _, nonce, *result = worker.wait_for(lambda kind, _: kind == "found")
    found, run = replace(work, nonce=nonce), read_run(result)
    assert run == engine.run(TicketTask(found.seed, PARENT, mined, weights))
    assert run.after < run.before
    assert Header(found, run.digest, run.before, run.after).ticket < GENESIS.params.start_target // 2


def test_requests_are_answered_while_mining(
    worker: RealWorker, engine: EngineVerifier, spec: JobSpec
) -> None:
    worker.mine(worker.make_heartbeat(3), threshold=0)
    worker.wait_for(lambda kind, arguments: kind == "mined" and arguments[0] == 3)
    task = task_of(spec, worker.client.inspect(spec).weights, 9)
    assert worker.client.run(task) == engine.run(task)
    worker.events.clear()
    worker.wait_for(lambda kind, arguments: kind == "mined" and arguments[1] > 0)  # and goes on


def test_job_whose_runs_do_not_lower_the_loss_is_told_as_stuck(worker: RealWorker, spec: JobSpec) -> None:
    """A template is renewed every second, so what was tried before it must count."""
    weights = worker.client.inspect(spec).weights
    wild = replace(spec, rates=tuple((4095, 0) for _ in spec.rates))
    worker.mine(make_work(4, JOB_ID), 0, wild, weights)
    assert worker.wait_for(lambda kind, _: kind == "stuck")[0] == 4


def test_job_without_its_data_is_told_as_stuck(worker: RealWorker, spec: JobSpec) -> None:
    weights = worker.client.inspect(spec).weights
    worker.mine(make_work(5, JOB_ID), 0, replace(spec, data_cid=cid_of(b"not there")), weights)
    number, why = worker.wait_for(lambda kind, _: kind == "stuck")
    assert number == 5
    assert "not held" in why


def test_killed_process_is_started_again_and_its_request_repeated(
    worker: RealWorker, engine: EngineVerifier, spec: JobSpec
) -> None:
    task = task_of(spec, worker.client.inspect(spec).weights, 20)
    restarts, pid = worker.client.restarts, worker.client.pid
    assert pid is not None
    with ThreadPoolExecutor() as pool:
        os.kill(pid, signal.SIGSTOP)
        call = pool.submit(worker.client.run, task)
        os.kill(pid, signal.SIGKILL)
        assert call.result(WAIT_S) == engine.run(task)
    assert worker.client.restarts == restarts + 1
    assert worker.client.pid != pid


def test_process_ends_with_a_killed_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.node.worker.parent", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        try:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            assert read_start(pid) is not None
        finally:
            parent.kill()
    until(lambda: read_start(pid) is None)


def test_prepared_tranche_is_what_the_spec_commits_to_and_is_scored(
    worker: RealWorker, engine: EngineVerifier, spec: JobSpec
) -> None:
    text, data = JOB_FILE.read_text(), (JOB_FILE.parent / "data" / "teacher.safetensors").read_bytes()
    toml = re.sub(r"(?m)^holdout = .*$", "evaluation = 64\ntranches = 3", text)
    weights = worker.client.inspect(spec).weights

    async def prepare() -> PreparedReply:
        limit = GENESIS.params.sidecar_limit
        return await worker.client.prepare_job(toml, "teacher.safetensors", data, limit, SECRET)

    async def evaluate(blob: bytes) -> tuple[Score, Score]:
        return await worker.client.evaluate(spec, weights, blob)

    reply = trio.run(prepare)
    tranches = [decode_tranche(file) for file in reply.tranches]
    assert reply.evaluation == 64
    assert [(t.index, t.count, t.root, t.is_proven) for t in tranches] == [
        (i, 3, reply.spec.evaluation, True) for i in range(3)
    ]
    assert reply.trial == engine.run(TicketTask(trial_seed(reply.spec_bytes), bytes(32), reply.spec, weights))
    judging, secret = trio.run(evaluate, tranches[0].blob)
    exact = engine.engine.score_tranche(read_task(spec), weights, tranches[0].blob)
    assert (secret.total, secret.count, secret.right) == (exact.total, 22, exact.right)
    assert (judging.total, judging.count) == engine.engine.evaluate(read_task(spec), weights, "judge")
    with pytest.raises(WorkRefused, match="its samples are none of this job: magic"):
        trio.run(evaluate, b"GCD2")


def test_continued_job_is_prepared_and_tried_from_its_parents_weights(
    worker: RealWorker, engine: EngineVerifier, spec: JobSpec
) -> None:
    weights = bytearray(worker.client.inspect(spec).weights)
    weights[:8] = (12345).to_bytes(8, "little")
    parent = ParentJob(JOB_ID, encode_spec(spec), bytes(weights))
    toml, data = JOB_FILE.read_text(), (JOB_FILE.parent / "data" / "teacher.safetensors").read_bytes()

    async def prepare(toml: str, parent: ParentJob | None) -> PreparedReply:
        limit = GENESIS.params.sidecar_limit
        return await worker.client.prepare_job(toml, "teacher.safetensors", data, limit, SECRET, parent)

    reply = trio.run(prepare, toml, parent)
    assert reply.spec == replace(spec, parent=JOB_ID, parent_weights=cid_of(parent.weights))
    seed = trial_seed(reply.spec_bytes)
    assert reply.trial == engine.run(TicketTask(seed, bytes(32), reply.spec, parent.weights))
    assert reply.trial.after < reply.trial.before
    other = replace(parent, spec=encode_spec(replace(spec, params=(1, *spec.params[1:]))))
    with pytest.raises(
        JobFileRefused, match=r"job\.toml: \[objective\] tokens: expected 1|^\[objective\] tokens: expected 1"
    ):
        trio.run(prepare, toml, other)
    with pytest.raises(JobFileRefused, match="parent: the weights of job abcd are needed"):
        trio.run(prepare, 'parent = "abcd"\n' + toml, None)
