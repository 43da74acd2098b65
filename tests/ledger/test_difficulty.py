"""The target follows the hash rate, exactly the same on every machine."""

import dataclasses
import math
import random
import statistics
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.blocks import HEARTBEAT, Header, WorkHeader
from ledger.difficulty import ANCHOR_HEIGHT, block_work, next_target, threshold
from ledger.index import BlockIndex
from ledger.params import LOCAL, MAINNET, MAX_TARGET, REGTEST, ChainParams

START_MS = 1_800_000_000_000
WORK = WorkHeader(
    version=1,
    height=1,
    parent=bytes(32),
    time_ms=0,
    miner=bytes(32),
    target=LOCAL.start_target,
    job_id=HEARTBEAT,
    tx_root=bytes(32),
    tx_count=0,
    state_root=bytes(32),
    nonce=0,
)


def _count_blocks_to_recover(params: ChainParams, rate: float, rng: random.Random | None = None) -> int:
    """Blocks until the expected interval is within 15 % after the hash rate changes by a factor.

    A block takes its expected time, interval * start target / (target * rate); with a generator a random one.
    """
    time_ms, height = float(START_MS), ANCHOR_HEIGHT
    while True:
        target = next_target(params, height, int(time_ms), START_MS)
        expected_ms = params.interval_ms * params.start_target / target / rate
        if abs(expected_ms / params.interval_ms - 1) < 0.15:
            return height - ANCHOR_HEIGHT + 1
        time_ms += expected_ms * (rng.expovariate(1) if rng else 1)
        height += 1


@pytest.mark.parametrize("half_life", [60, 30, 16])
@pytest.mark.parametrize(("rate", "end"), [(10, 0.85), (1 / 20, 1.15)])
def test_target_recovers_as_fast_as_its_differential_equation(
    half_life: int, rate: float, end: float
) -> None:
    """The interval y follows dy/dn = ln 2 * y (1 - y) / half-life, a logistic curve."""
    params = dataclasses.replace(MAINNET, half_life_blocks=half_life)
    start = 1 / rate
    blocks = half_life / math.log(2) * (math.log(end / abs(1 - end)) - math.log(start / abs(1 - start)))
    assert abs(_count_blocks_to_recover(params, rate) - abs(blocks)) <= 3


@pytest.mark.parametrize(
    ("half_life", "rate", "blocks"),
    [(60, 10, 339), (60, 1 / 20, 158), (30, 10, 165), (30, 1 / 20, 66), (16, 10, 87), (16, 1 / 20, 34)],
)
def test_target_recovers_with_random_intervals(half_life: int, rate: float, blocks: int) -> None:
    params = dataclasses.replace(MAINNET, half_life_blocks=half_life)
    counts = [_count_blocks_to_recover(params, rate, random.Random(seed)) for seed in range(201)]
    assert abs(statistics.median(counts) / blocks - 1) < 0.1


@pytest.mark.parametrize("params", [LOCAL, MAINNET], ids=lambda params: params.name)
def test_target_stays_when_blocks_come_on_time(params: ChainParams) -> None:
    for height in range(ANCHOR_HEIGHT, 2000):
        time_ms = START_MS + (height - ANCHOR_HEIGHT) * params.interval_ms
        assert next_target(params, height, time_ms, START_MS) == params.start_target


def test_blocks_up_to_the_one_after_the_anchor_have_the_start_target() -> None:
    for parent_height in range(ANCHOR_HEIGHT + 1):
        assert next_target(LOCAL, parent_height, START_MS + 2**40, START_MS) == LOCAL.start_target
    assert next_target(LOCAL, ANCHOR_HEIGHT + 1, START_MS + 2**40, START_MS) > LOCAL.start_target


def make_index(times_ms: list[int]) -> BlockIndex:
    """Return a chain of headers with these times, from height 1."""
    index = BlockIndex(bytes(32))
    parent = index.genesis
    for time_ms in times_ms:
        work = dataclasses.replace(WORK, height=parent.height + 1, parent=parent.hash, time_ms=time_ms)
        parent = index.add(Header(work, bytes(32), 2, 1))
        index.extend_main(parent.hash)
    return index


@pytest.mark.parametrize("liars", range(1, ANCHOR_HEIGHT))
def test_dating_the_first_blocks_years_back_does_not_move_the_target(liars: int) -> None:
    """All blocks up to `liars` bear the least times there are; one honest block before the anchor undoes it."""
    honest = [START_MS + i * LOCAL.interval_ms for i in range(60)]
    dated_back = [1 + i for i in range(liars)] + honest[liars:]
    targets = [
        next_target(LOCAL, head.height, head.time_ms, head.anchor_time_ms)
        for head in (make_index(honest).head, make_index(dated_back).head)
    ]
    assert targets[0] == targets[1] == LOCAL.start_target


def test_anchor_is_the_branchs_own() -> None:
    times = [START_MS + i * 1000 for i in range(ANCHOR_HEIGHT + 3)]
    other = [*times[:-4], *(t + 500 for t in times[-4:])]
    assert make_index(times).head.anchor_time_ms == times[ANCHOR_HEIGHT - 1]
    assert make_index(other).head.anchor_time_ms == other[ANCHOR_HEIGHT - 1]
    assert times[ANCHOR_HEIGHT - 1] != other[ANCHOR_HEIGHT - 1]


def test_fixed_target_never_changes() -> None:
    assert next_target(REGTEST, 1000, START_MS, START_MS) == MAX_TARGET == REGTEST.start_target


def test_half_life_late_doubles_and_early_halves() -> None:
    half_life_ms = LOCAL.half_life_blocks * LOCAL.interval_ms
    on_time_ms = START_MS + (100 - ANCHOR_HEIGHT) * LOCAL.interval_ms
    for doublings in range(-5, 6):
        target = next_target(LOCAL, 100, on_time_ms + doublings * half_life_ms, START_MS)
        assert (
            target == LOCAL.start_target * 2**doublings
            if doublings >= 0
            else LOCAL.start_target >> -doublings
        )


@given(st.integers(-100, 7), st.integers(0, 65535))
def test_scale_is_a_power_of_two_to_one_part_in_eight_thousand(doublings: int, fraction: int) -> None:
    params = dataclasses.replace(LOCAL, interval_ms=65536, half_life_blocks=1)  # a millisecond is one step
    late_ms = doublings * 65536 + fraction
    target = next_target(params, ANCHOR_HEIGHT + 1, START_MS + 65536 + late_ms, START_MS)
    ratio = math.log2(target) - 248 - late_ms / 65536
    assert abs(ratio) < 2**-12


@given(st.integers(9, 10**4), st.integers(0, 10**7), st.sampled_from([LOCAL, MAINNET]))
def test_target_is_the_formula_of_the_specification(height: int, time_ms: int, params: ChainParams) -> None:
    late_ms = time_ms - params.interval_ms * (height - 8)
    e = math.floor(Fraction(late_ms * 65536, params.half_life_blocks * params.interval_ms))
    s, f = divmod(e, 65536)
    factor = 65536 + (195766423245049 * f + 971821376 * f**2 + 5127 * f**3 + 2**47) // 2**48
    target = math.floor(params.start_target * factor * Fraction(2) ** (s - 16))
    assert next_target(params, height, time_ms, 0) == min(max(target, 1), 2**256 - 1)


@given(st.integers(1, 2**63 - 1), st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_target_stays_within_bounds_for_any_time(height: int, time_ms: int, first_ms: int) -> None:
    assert 1 <= next_target(LOCAL, height, time_ms, first_ms) <= MAX_TARGET


@given(st.integers(9, 10**6), st.integers(0, 10**12), st.integers(0, 10**9))
def test_later_parent_never_lowers_the_target(height: int, time_ms: int, more_ms: int) -> None:
    assert next_target(LOCAL, height, time_ms, 0) <= next_target(LOCAL, height, time_ms + more_ms, 0)


def test_block_work_is_the_expected_number_of_tickets() -> None:
    assert block_work(MAX_TARGET) == 1
    assert block_work(2**248 - 1) == 256
    assert block_work(1) == 2**255


def test_threshold_grows_with_work_and_is_divided_off_the_slot() -> None:
    assert threshold(2**248, 2**24, False, LOCAL) == 2**248
    assert threshold(2**248, 2**24, True, LOCAL) == 2**246
    assert threshold(2**248, 3 * 2**22, False, LOCAL) == 3 * 2**246
    assert threshold(1, 2**24 - 1, False, LOCAL) == 0
    assert threshold(MAX_TARGET, 2**27, False, LOCAL) == MAX_TARGET
    assert threshold(MAX_TARGET, 2**27, True, LOCAL) == MAX_TARGET // 4
