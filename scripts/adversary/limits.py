"""What follows from the parameters alone, without a chain: chances and bounds, by network."""

from __future__ import annotations

from ledger.difficulty import ANCHOR_HEIGHT
from ledger.params import COIN, LOCAL, MAINNET, ChainParams
from ledger.sidecars import most_committed

PARTS = (0.25, 0.4)  # of all power


def list_limits() -> list[str]:
    """Lines with the exact figures that the table's runs are compared with."""
    return [
        *(line for params in (LOCAL, MAINNET) for line in describe_network(params)),
        describe_anchor(),
        "grinding the next slot never pays, however cheap the own job: a block kept back costs its coinbase whenever"
        " another miner finds the next, and the slot that a new draw may bring raises the chance of one coinbase from"
        " a to 1 at the most: less than was risked",
    ]


def describe_network(params: ChainParams) -> tuple[str, ...]:
    return describe_room(params), describe_censor(params), describe_clock(params)


def describe_room(params: ChainParams) -> str:
    part = most_committed(1, params)
    return (
        f"{params.name}: all miners find {params.share_factor} shares a block, a block carries {params.block_shares},"
        f" each of which may declare {part:,} bytes of payloads, for {part * params.fee_per_byte / COIN:.5f} coins"
    )


def describe_censor(params: ChainParams) -> str:
    window = params.round_length - params.sample_delay
    chances = ", ".join(f"{100 * part:.0f} % of the blocks: {part**window:.1g}" for part in PARTS)
    return f"{params.name}: a reveal is lost if all {window} blocks of its window are the censor's; {chances}"


def describe_clock(params: ChainParams) -> str:
    """Blocks are dated at most some intervals ahead, and the target doubles in a half-life of lateness."""
    easier = 2 ** (params.future_intervals / params.half_life_blocks)
    return (
        f"{params.name}: dated {params.future_intervals} intervals ahead, a block makes the next target"
        f" {easier:.2f} times as easy, for everybody; over any time that is {params.future_intervals} blocks more"
    )


def describe_anchor() -> str:
    chances = ", ".join(f"{100 * part:.0f} % of the power: {part**ANCHOR_HEIGHT:.1g}" for part in PARTS)
    return (
        f"the schedule's anchor is block {ANCHOR_HEIGHT}: to date it at will an attacker must find all blocks up to it;"
        f" {chances}"
    )
