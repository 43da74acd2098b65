"""Chain parameters and the four presets. Source: docs/protocol.md, section 12.

Genesis encodes the fields in their order here: a new field goes to the end and makes new chains.
"""

import dataclasses
from dataclasses import dataclass

from ledger.codec import MAX_AMOUNT, Encodable, Value, encode, read_bytes, read_list, read_str, read_uint
from ledger.errors import DecodeError, LedgerError

COIN = 10**8  # units
KIB = 1024  # bytes
MAX_TARGET = 2**256 - 1
TARGET_BYTES = 32
MAX_NAME_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainParams:
    """Everything in which two chains of this protocol may differ."""

    name: str
    address_prefix: str
    interval_ms: int
    half_life_blocks: int
    start_target: int
    fixed_target: int  # 1: the target never leaves its start
    round_length: int  # E, heights
    sample_delay: int  # heights after a round's end at which its judging sample is fixed
    heartbeat_every: int  # heights
    offslot_divisor: int  # of the threshold, for a heartbeat where a job was drawn
    slot_cap_num: int  # the largest share of the drawn heights that one job may have
    slot_cap_den: int
    sidecar_limit: int  # bytes, all sidecars of a block
    block_limit: int  # bytes
    transaction_limit: int  # bytes
    spec_limit: int  # bytes
    fee_per_byte: int  # units
    coinbase: int  # units
    halving_blocks: int
    maturity: int  # blocks
    min_burn: int  # units for every height drawn
    lock_slots: int  # burns locked at submission
    draw_window: int  # drawn heights that the suspension rule looks at
    suspension_blocks: int
    stall_rounds: int
    rent: int  # units a round
    budget_coinbases: int
    max_jobs: int
    work_unit_bits: int  # one ticket at the target itself is 2^bits units of declared work
    work_min_num: int  # the least declared work, as a fraction of the unit
    work_min_den: int
    work_max: int  # the most declared work, in units
    future_intervals: int  # how far a header's time may be ahead of a node's clock
    versions_kept: int  # weights of a job that nodes keep
    share_factor: int  # of the threshold: what a share must be under
    share_age: int  # heights after its own at which a share can be used
    update_shares: int  # the most shares of one update
    block_shares: int  # the most shares of one block: each is a replay
    payload_limit: int  # bytes, all payloads that a block reveals
    bond_divisor: int
    judging_fee: int  # units for 2^24 of work of an evaluation


LOCAL = ChainParams(
    name="local",
    address_prefix="rgc",
    interval_ms=1000,
    half_life_blocks=16,
    start_target=2**248,
    fixed_target=0,
    round_length=6,
    sample_delay=1,
    heartbeat_every=4,
    offslot_divisor=4,
    slot_cap_num=1,
    slot_cap_den=1,
    sidecar_limit=512 * KIB,
    block_limit=256 * KIB,
    transaction_limit=16 * KIB,
    spec_limit=4 * KIB,
    fee_per_byte=1,
    coinbase=50 * COIN,
    halving_blocks=2_100_000,
    maturity=10,
    min_burn=50 * COIN // 100,
    lock_slots=50,
    draw_window=50,
    suspension_blocks=500,
    stall_rounds=50,
    rent=COIN // 100,
    budget_coinbases=6,
    max_jobs=64,
    work_unit_bits=24,
    work_min_num=1,
    work_min_den=8,
    work_max=8,
    future_intervals=4,
    versions_kept=20,
    share_factor=16,
    share_age=16,
    update_shares=16,
    block_shares=16,
    payload_limit=256 * KIB,
    bond_divisor=32,
    judging_fee=COIN // 100,
)
REGTEST = dataclasses.replace(LOCAL, name="regtest", start_target=MAX_TARGET, fixed_target=1)
MAINNET = dataclasses.replace(
    LOCAL,
    name="mainnet",
    address_prefix="gc",
    interval_ms=60_000,
    half_life_blocks=60,
    start_target=2**244,
    round_length=32,
    sample_delay=6,
    slot_cap_den=6,
    sidecar_limit=1024 * KIB,
    block_limit=512 * KIB,
    maturity=100,
    min_burn=50 * COIN // 4,
    rent=COIN,
    work_min_den=2,
    work_max=2,
    share_age=64,
    payload_limit=512 * KIB,
)
TESTNET = dataclasses.replace(MAINNET, name="testnet", address_prefix="tgc")

PRESETS = {params.name: params for params in (LOCAL, REGTEST, TESTNET, MAINNET)}
FIELD_NAMES = tuple(field.name for field in dataclasses.fields(ChainParams))
DIVISORS = frozenset(
    {"interval_ms", "half_life_blocks", "round_length", "heartbeat_every", "offslot_divisor"}
    | {"slot_cap_den", "halving_blocks", "work_min_den", "draw_window", "bond_divisor"}
)
MOST = {"fixed_target": 1, "work_unit_bits": 64}  # of the others: MAX_AMOUNT


def params_by_name(name: str) -> ChainParams:
    """Return a preset; LedgerError names the presets there are."""
    if name not in PRESETS:
        raise LedgerError(f"unknown network: expected one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]


def encode_params(params: ChainParams) -> bytes:
    """Return the canonical encoding of all parameters."""
    return encode(list_params(params))


def list_params(params: ChainParams) -> list[Encodable]:
    """Return the parameters' encodable values in the order of the fields; the start target is 32 bytes."""
    values = [getattr(params, name) for name in FIELD_NAMES]
    values[FIELD_NAMES.index("start_target")] = params.start_target.to_bytes(TARGET_BYTES, "big")
    return values


def read_params(values: list[Value]) -> ChainParams:
    """Return the parameters whose `list_params` the decoded values are."""
    read_list(values, "parameters", len(FIELD_NAMES))
    fields: dict[str, int | str] = {}
    for name, value in zip(FIELD_NAMES, values, strict=True):
        fields[name] = _read_param(name, value)
    return ChainParams(**fields)  # type: ignore[arg-type]  # each value was read as its field's type


def _read_param(name: str, value: Value) -> int | str:
    if name in ("name", "address_prefix"):
        text = read_str(value, name, MAX_NAME_BYTES)
        if not (text.isascii() and text.isalnum() and text == text.lower()):
            raise DecodeError(f"{name}: expected lower-case letters and digits, got {text!r}")
        return text
    if name == "start_target":
        return int.from_bytes(read_bytes(value, name, TARGET_BYTES), "big")
    return read_uint(value, name, 1 if name in DIVISORS else 0, MOST.get(name, MAX_AMOUNT))
