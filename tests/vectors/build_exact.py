"""Vectors of exact arithmetic: primitives, tickets, a settlement, as JSON files `exact_*.json` beside this file.

`python scripts/make_vectors.py exact` writes them. They are consensus: a change in one is a change of the protocol.
Bytes are hexadecimal; integers that JSON readers would round are decimal text; floats are the hexadecimal of C99.
"""

import json
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.training.payloads import round_delta
from tests.training.problems import PROBLEMS, SEED, SETTLED
from training.engine import Engine, Run
from training.exact import counter, functions, integers
from training.exact.trace import Trace
from training.hashing import compute_cid
from training.merge import Settled, Update
from training.payload import decode_payload
from training.settlement import merge_deltas

FOLDER = Path(__file__).parent
EXACT_IN_JSON = 2**53
PATHS = ("fused", "portable")
SEEDS = (bytes(32), SEED)
SAMPLE_SEEDS = (SEED, bytes(32), SEED[::-1])
Json = dict[str, Any]  # Any: whatever JSON holds


def build(path: str = "portable") -> dict[str, Json]:
    """Return the contents of the files by their names without `.json`, computed by one of the two paths."""
    return {
        "exact_primitives": {
            "random": _random(),
            "exp": [[x.hex(), y.hex()] for x, y in _exp()],
            "softmax": _softmax(),
            "half_even": _half_even(),
            "clip": _clip(),
        },
        "exact_tickets": {
            "heartbeat": build_heartbeats(path),
            "tasks": [_task(name, path) for name in PROBLEMS],
        },
        "exact_payloads": {"payloads": _payloads(), "take_out": _take_out()},
        "exact_settlements": {
            "tasks": [_settlement(name, path) for name in SETTLED],
            "updates": [build_updates(name, path) for name in SETTLED],
        },
    }


def write() -> None:
    for name, content in build().items():
        (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def build_heartbeats(path: str) -> list[Json]:
    engine = Engine(_no_blob, path)  # type: ignore[arg-type]  # one of PATHS
    return [
        {"parent": parent.hex(), "seed": seed.hex()} | _run(engine.heartbeat(parent, seed))
        for parent in SEEDS
        for seed in SEEDS
    ]


def _random() -> list[Json]:
    rows: list[Json] = []
    for seed, label in ((SEED, "dither"), (SEED, "noise/1"), (bytes(32), "shard")):
        stream = counter.open_stream(seed, label)
        words = [counter.get_word(stream, i) for i in range(8)]
        assert [word % 2**64 for word in counter.make_words(stream, 8).tolist()] == words
        rows.append(
            {
                "seed": seed.hex(),
                "label": label,
                "stream": str(stream),
                "words": [str(word) for word in words],
                "dither": counter.make_dither(stream, 20).tolist(),
                "noise": counter.make_noise(stream, 20).tolist(),
                "sample_12_of_20": counter.draw_sample(stream, 20, 12),
                "sample_3_of_1000000": counter.draw_sample(stream, 1_000_000, 3),
            }
        )
    trace = Trace()
    trace.add(torch.tensor([0.0, -1.0, 2.0**50, -(2.0**50)], dtype=torch.float64))
    rows.append({"trace_of": ["0", "-1", str(2**50), str(-(2**50))], "trace": str(trace.total)})
    return rows


def _exp() -> list[tuple[float, float]]:
    edges = [
        0.0,
        -(2.0**-60),
        -0.25,
        -0.34657359027997264,
        -0.6931471805599453,
        -1.0,
        -20.79,
        -40.0,
        -41.0,
        -1e300,
    ]
    drawn = [-abs(n) * 2.0**-34 for n in counter.make_uniform(5, 40, 40).tolist()]
    x = edges + drawn
    return list(zip(x, functions.exp(torch.tensor(x, dtype=torch.float64)).tolist(), strict=True))


def _softmax() -> list[Json]:
    scores = [[0, 0, 0], [2**49, -(2**49), 2**49 - 2**25], [5, 2**26, 2**27 + 12345], [-7, -8, -9]]
    rows = functions.softmax(torch.tensor(scores, dtype=torch.float64), 26).tolist()
    return [
        {"f": 26, "scores": [str(s) for s in a], "result": [int(p) for p in b]}
        for a, b in zip(scores, rows, strict=True)
    ]


def _half_even() -> list[Json]:
    values = [0, 1, -1, 2, 3, 4, -4, -6, 5, -5, 7, 12, 20, 2**61 - 1, -(2**61) + 4]
    array = np.array(values, np.int64)
    shifted = {str(bits): _text(integers.shift_half_even(array, bits)) for bits in (0, 1, 3, 20)}
    divided = {str(n): _text(integers.divide_half_even(array, n)) for n in (1, 2, 3, 8, 10)}
    return [{"values": [str(v) for v in values], "shifted": shifted, "divided": divided}]


def _clip() -> list[Json]:
    rows = [[3, 4, 0], [6, 8, -1], [2**20, 5, 7], [300, -401, 0], [0, 0, 0]]
    deltas = [np.array(row, np.int64) for row in rows]
    norms = [integers.compute_squared_norm(delta) for delta in deltas]
    factors = integers.compute_clip_factors(norms, [1] * len(rows))
    clipped = [integers.shrink(delta, factor).tolist() for delta, factor in zip(deltas, factors, strict=True)]
    return [{"deltas": rows, "clipped": clipped, "mean": merge_deltas(deltas).tolist()}]


def _payloads() -> list[Json]:
    """Of one chunk and more, sparse and dense, with the digest of what they hold as little-endian int64."""
    rows = []
    for count, kept, bits in (
        (1, 1, 2),
        (30, 7, 2),
        (30, 30, 4),
        (30, 4096, 8),
        (4096, 5, 8),
        (4200, 101, 4),
    ):
        delta = counter.make_uniform(count, count, 29)
        payload = round_delta(delta.tolist(), kept, bits)
        read = decode_payload(payload, count)
        rows.append(
            {
                "count": count,
                "payload": payload.hex(),
                "first": read[:16].tolist(),
                "sha256": sha256(read.astype("<i8").tobytes()).hexdigest(),
            }
        )
    return rows


def _take_out() -> list[Json]:
    """Projections at the limits: alpha from -2^49 to 2^49, and the clip."""
    largest = 2**28
    pairs = [
        ([3, -5, 7], [1, 1, 1]),
        ([3, -5, 7], [0, 0, 0]),
        ([largest] * 4, [1, 0, 0, 0]),
        ([-largest] * 4, [1, 1, 0, 0]),
        ([largest] * 4, [largest] * 4),
        ([largest, -largest, largest, 5], [largest, largest, -largest, largest]),
        ([largest, 0, 0, 0], [largest, -largest, largest, -1]),
        ([123456789, -98765432, 11, -268435455], [-99999999, 268435455, -77, 13]),
    ]
    return [
        {
            "a": a,
            "b": b,
            "left": integers.take_out(np.array(a), integers.make_direction(np.array(b))).tolist(),
        }
        for a, b in pairs
    ]


def _task(name: str, path: str) -> Json:
    problem = PROBLEMS[name]()
    engine = problem.make_engine(path)
    task, facts = problem.task, engine.inspect(problem.task)
    return {
        "name": name,
        "objective": task.objective,
        "params": list(task.params),
        "init_seed": task.init_seed.hex(),
        "steps": task.steps,
        "shard": task.shard,
        "rates": [list(rate) for rate in task.rates],
        "sample": task.sample,
        "blob": problem.blob.hex(),
        "data_cid": task.data_cid.hex(),
        "work": facts.work,
        "initial_weights_sha256": sha256(facts.weights).hexdigest(),
        "weights": "initial" if problem.weights == facts.weights else problem.weights.hex(),
        "runs": [{"seed": seed.hex()} | _run(engine.run(task, problem.weights, seed)) for seed in SEEDS],
    }


def _settlement(name: str, path: str) -> Json:
    problem = PROBLEMS[name]()
    engine = problem.make_engine(path)
    deltas = [engine.run(problem.task, problem.weights, bytes([i]) * 32).delta for i in range(3)]
    settled = engine.settle(problem.task, problem.weights, deltas, (SEED,) * 3)
    return {
        "task": name,
        "run_seeds": [(bytes([i]) * 32).hex() for i in range(3)],
        "sample_seed": SEED.hex(),
        "weights_sha256": sha256(settled.weights).hexdigest(),
        "scale": settled.scale,
        "losses": [str(loss) for loss in settled.losses],
        "sample_count": settled.sample_count,
        "split_loss": str(settled.split_loss),
        "split_count": settled.split_count,
    }


def build_updates(name: str, path: str) -> Json:
    """Settlements of a round with tickets, earlier steps and updates of unequal weight, one of them void, all but the
    first known from the round before; and of one with two updates alone."""
    problem = PROBLEMS[name]()
    blobs = {problem.task.data_cid: problem.blob}
    engine = Engine(blobs.__getitem__, path)  # type: ignore[arg-type]  # one of PATHS
    runs = [engine.run(problem.task, problem.weights, bytes([i]) * 32).delta for i in range(6)]
    count = len(problem.weights) // 8
    payloads = [
        round_delta((2 * np.frombuffer(delta, "<i8")).tolist(), kept, bits)
        for delta, kept, bits in zip(runs[3:], (4096, -(-count // 2), 4096), (8, 4, 2), strict=True)
    ]
    payloads.insert(2, payloads[0][:-1])
    blobs |= {compute_cid(payload): payload for payload in payloads}
    updates = [Update(compute_cid(p), len(p), w) for p, w in zip(payloads, (1, 7, 2, 3), strict=True)]
    first = engine.inspect(problem.task).weights
    earlier = [engine.settle(problem.task, first, runs[i : i + 1], SAMPLE_SEEDS).weights for i in range(2)]
    settle = partial(engine.settle, problem.task, problem.weights)
    return {
        "task": name,
        "run_seeds": [(bytes([i]) * 32).hex() for i in range(3)],
        "sample_seeds": [seed.hex() for seed in SAMPLE_SEEDS],
        "earlier": [weights.hex() for weights in earlier],
        "updates": [{"payload": p.hex(), "weight": u.weight} for p, u in zip(payloads, updates, strict=True)],
        "settled": _describe(settle(runs[:3], SAMPLE_SEEDS, earlier, updates, updates[1:])),
        "first_two_alone": _describe(settle([], SAMPLE_SEEDS, (), updates[:2])),
    }


def _describe(settled: Settled) -> Json:
    return {
        "weights_sha256": sha256(settled.weights).hexdigest(),
        "scale": settled.scale,
        "losses": [str(loss) for loss in settled.losses],
        "sample_count": settled.sample_count,
        "split_loss": str(settled.split_loss),
        "split_count": settled.split_count,
        "loss_before": str(settled.loss_before),
        "loss_after": str(settled.loss_after),
        "known_scale": settled.known_scale,
        "known_losses": [str(loss) for loss in settled.known_losses],
        "update_scale": settled.update_scale,
        "update_losses": [str(loss) for loss in settled.update_losses],
        "credits": [None if credit is None else str(credit) for credit in settled.credits],
        "credit_base": str(settled.credit_base),
    }


def _run(run: Run) -> Json:
    return {
        "digest": run.digest.hex(),
        "before": str(run.before),
        "after": str(run.after),
        "delta": run.delta[:128].hex(),  # the first sixteen entries; the digest covers all
    }


def _text(array: integers.Integers) -> list[str]:
    return [str(n) for n in array.tolist()]


def _no_blob(cid: bytes) -> bytes:
    raise AssertionError(cid)
