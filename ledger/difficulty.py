"""Target of the next block, chain work, and the threshold of a ticket. Source: docs/protocol.md (7, 8).

The target follows ASERT (Lundeberg 2020, as in Bitcoin Cash's aserti3-2d), anchored at one early block: it depends on
the parent's height and time alone, so it cannot drift or be steered by single times in between. The anchor is not
block 1, whose miner could date it years back; times rise, so one honest block before the anchor bounds it.
"""

from ledger.params import MAX_TARGET, ChainParams

ANCHOR_HEIGHT = 8
FRACTION_BITS = 16
CUBIC = (195766423245049, 971821376, 5127)  # 2^x - 1 on 0..1 within 2^-13 parts, f in units of 2^-16
CUBIC_BITS = 48


def next_target(params: ChainParams, parent_height: int, parent_time_ms: int, anchor_time_ms: int) -> int:
    """Return the target of the block after a parent; `anchor_time_ms` is the anchor block's time."""
    if params.fixed_target or parent_height <= ANCHOR_HEIGHT:
        return params.start_target
    elapsed_ms = parent_time_ms - anchor_time_ms
    late_ms = elapsed_ms - params.interval_ms * (parent_height - ANCHOR_HEIGHT)
    exponent = (late_ms << FRACTION_BITS) // (params.half_life_blocks * params.interval_ms)
    return _scale(params.start_target, exponent)


def block_work(target: int) -> int:
    """Return the chain work of a block: the runs it stands for at standard work, on average."""
    return (1 << 256) // (target + 1)


def threshold(target: int, work: int, offslot: bool, params: ChainParams) -> int:
    """Return what a ticket must be under; `work` is its run's declared work, `offslot`: a job was drawn."""
    scaled = min(MAX_TARGET, (target * work) >> params.work_unit_bits)
    return scaled // params.offslot_divisor if offslot else scaled


def expected_runs(limit: int) -> int:
    """Return how many valid runs it takes on average to come under a threshold, to the nearest integer."""
    return ((1 << 256) + limit // 2) // max(1, limit)


def _scale(start_target: int, exponent: int) -> int:
    """Return start * 2^(exponent / 2^16), within 1..2^256-1, rounded down."""
    doublings, fraction = exponent >> FRACTION_BITS, exponent & ((1 << FRACTION_BITS) - 1)
    linear, square, cube = CUBIC
    cubic = linear * fraction + square * fraction**2 + cube * fraction**3 + (1 << CUBIC_BITS - 1)
    scaled = start_target * ((1 << FRACTION_BITS) + (cubic >> CUBIC_BITS))
    shift = doublings - FRACTION_BITS
    if shift > 256:  # past the largest target whatever the start, and too long to write out
        return MAX_TARGET
    return max(1, min(MAX_TARGET, scaled << shift if shift >= 0 else scaled >> -shift))
