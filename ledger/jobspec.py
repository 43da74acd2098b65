"""The specification of a training job: fields, bytes and ranges. What an objective asks is not known here.

Source: docs/protocol.md, section 4.
"""

from dataclasses import dataclass

from ledger.codec import MAX_AMOUNT, Value, decode, encode, read_bytes, read_list, read_str, read_uint
from ledger.errors import DecodeError
from ledger.hashing import CID_BYTES, HASH_BYTES, read_cid, tagged_hash
from ledger.params import ChainParams

SPEC_VERSION = 1
FIELD_COUNT = 20  # with the version
MAX_TITLE_BYTES = 64
MAX_OBJECTIVE_BYTES = 32
MAX_OBJECTIVE_PARAMS = 16
MAX_TENSORS = 16
MAX_MANTISSA, MAX_SHIFT = 4095, 48
STEPS = (2, 64)
SHARD = (1, 4096)
SAMPLE = (16, 4096)
MAX_TARGET_LOSS = 2**50 - 1  # units of 2^-40
MAX_LIFETIME = 2**32  # blocks


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job trains, how, and what it pays; section 4 says what each field means."""

    title: str
    objective: str
    params: tuple[int, ...]  # of the objective
    data_cid: bytes
    data_size: int
    init_seed: bytes  # of the initial weights; nothing looks at it where there is a parent
    steps: int
    shard: int
    rates: tuple[tuple[int, int], ...]  # (mantissa, shift), one for each tensor
    sample: int
    price: int
    budget: int
    burn: int
    target: int
    lifetime: int
    market_only: int  # 1: no heights are drawn for it
    evaluation: bytes
    parent: bytes = b""  # id of the job that this one continues
    parent_weights: bytes = b""  # CID of the weights that the parent ended with


def encode_spec(spec: JobSpec) -> bytes:
    """Return the canonical bytes of a spec."""
    return encode(
        [
            *(SPEC_VERSION, spec.title, spec.objective, spec.params),
            *(spec.data_cid, spec.data_size, spec.init_seed),
            *(spec.steps, spec.shard, spec.rates, spec.sample),
            *(spec.price, spec.budget, spec.burn, spec.target, spec.lifetime),
            *(spec.market_only, spec.evaluation, spec.parent, spec.parent_weights),
        ]
    )


def decode_spec(data: bytes, params: ChainParams) -> JobSpec:
    """Return the spec with that encoding, every field within its range on this chain."""
    values = read_list(decode(data, params.spec_limit), "spec", FIELD_COUNT)
    version, title, objective, objective_params, cid, size, seed, steps, shard, rates, *rest = values
    sample, price, budget, burn, target, lifetime, market_only, evaluation, *parent = rest
    read_uint(version, "spec version", SPEC_VERSION, SPEC_VERSION)
    is_market_only = read_uint(market_only, "market_only", 0, 1)
    parent_id, parent_weights = _read_parent(*parent)
    return JobSpec(
        title=read_str(title, "title", MAX_TITLE_BYTES),
        objective=read_str(objective, "objective", MAX_OBJECTIVE_BYTES),
        params=_read_objective_params(objective_params),
        data_cid=read_cid(cid, "data CID"),
        data_size=read_uint(size, "data size", 1, params.sidecar_limit),
        init_seed=read_bytes(seed, "init seed", HASH_BYTES),
        steps=read_uint(steps, "steps", *STEPS),
        shard=read_uint(shard, "shard", *SHARD),
        rates=_read_rates(rates),
        sample=read_uint(sample, "sample", *SAMPLE),
        price=read_uint(price, "price", is_market_only, MAX_AMOUNT),
        budget=read_uint(budget, "budget", is_market_only, params.budget_coinbases * params.coinbase),
        burn=_read_burn(burn, is_market_only, params),
        target=read_uint(target, "target", 0, MAX_TARGET_LOSS),
        lifetime=read_uint(lifetime, "lifetime", 1, MAX_LIFETIME),
        market_only=is_market_only,
        evaluation=_read_evaluation(evaluation),
        parent=parent_id,
        parent_weights=parent_weights,
    )


def trial_seed(spec_bytes: bytes) -> bytes:
    """Return the ticket seed of the trial that a submission must show."""
    return tagged_hash("gc/trial", spec_bytes)


def _read_objective_params(value: Value) -> tuple[int, ...]:
    items = read_list(value, "objective parameters", limit=MAX_OBJECTIVE_PARAMS)
    return tuple(read_uint(item, "objective parameter", 0, 2**32 - 1) for item in items)


def _read_rates(value: Value) -> tuple[tuple[int, int], ...]:
    pairs = [read_list(item, "rate", 2) for item in read_list(value, "rates", limit=MAX_TENSORS)]
    return tuple(
        (read_uint(mantissa, "mantissa", 1, MAX_MANTISSA), read_uint(shift, "shift", 0, MAX_SHIFT))
        for mantissa, shift in pairs
    )


def _read_burn(value: Value, market_only: int, params: ChainParams) -> int:
    """A job burns for the heights drawn for it, and only for those."""
    if market_only:
        return read_uint(value, "burn of a market-only job", 0, 0)
    return read_uint(value, "burn", params.min_burn, MAX_AMOUNT)


def _read_evaluation(value: Value) -> bytes:
    return _read_none_or(value, "evaluation", HASH_BYTES)


def _read_parent(job_id: Value, weights: Value) -> tuple[bytes, bytes]:
    parent = _read_none_or(job_id, "parent", HASH_BYTES)
    cid = _read_none_or(weights, "parent weights", CID_BYTES)
    if bool(parent) != bool(cid):
        raise DecodeError(
            f"parent: job id and weights expected, or neither, got {len(parent)} and {len(cid)} bytes"
        )
    return parent, read_cid(cid, "parent weights") if cid else b""


def _read_none_or(value: Value, name: str, length: int) -> bytes:
    data = read_bytes(value, name, limit=length)
    if len(data) not in (0, length):
        raise DecodeError(f"{name}: expected 0 or {length} bytes, got {len(data)}")
    return data
