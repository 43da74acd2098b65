"""What a miner trains next, and what of its updates is due: questions to the chain, without any waiting.

Policy, not consensus. Source: docs/protocol.md, sections 7.1 and 10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ledger.chain import Chain
from ledger.errors import LedgerError
from ledger.jobspec import JobSpec
from ledger.lifecycle import load_spec
from ledger.market import reveal_window
from ledger.mempool import Mempool
from ledger.params import ChainParams
from ledger.records import JobRecord, JobStatus
from ledger.settlement import STEPS_KEPT, get_due_round, make_settle_task
from ledger.sidecars import least_shares, most_committed
from ledger.slots import job_height, round_at
from ledger.state import Overlay
from ledger.transactions import CommitUpdate
from node.services.kept_updates import KeptUpdate
from node.services.share_box import ShareBox

PATIENCE_BLOCKS = 3  # left of a round: until then all reveals of the last one are waited for
PACE_BLOCKS = 16  # the last ones, whose times say how long a block takes
BLOCKS_TO_COMMIT = 2  # at the end of a round: for the commitment to reach a block
LEAST_TIME_S = 0.3
MOST_TIME_S = 600.0
SHARES_TO_HAVE = 4  # that an update can count on: a payload is at most what so many may declare


class RoundOver(LedgerError):
    """A commitment comes too late for its round."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An update to make: whose job's, from which weights (`previous`: where momentum starts), how fast, how large.

    The weights are those that the update will be merged onto, as far as they can be known: see `foresee`.
    """

    job_id: bytes
    round: int
    spec: JobSpec
    weights: bytes
    previous: bytes
    limit_s: float
    limit_bytes: int


def choose_plan(chain: Chain, is_tried: Callable[[bytes, int], bool]) -> Plan | None:
    """Return the update that promises most, among rounds not tried yet that leave time to train."""
    height, block_s = chain.head.height + 1, measure_block_s(chain)
    best: tuple[float, bytes, JobRecord] | None = None
    for job_id, record in Overlay(chain.state).active_jobs():
        number = round_at(job_id, height, chain.params)
        if record.status is not JobStatus.LIVE or number < record.first_round or is_tried(job_id, number):
            continue
        if time_left_s(chain, job_id, height, block_s) < LEAST_TIME_S or not is_ready(chain, job_id, record):
            continue
        promise = expect_payment(load_spec(record, chain.params), record)
        if promise > 0 and (best is None or promise > best[0]):
            best = (promise, job_id, record)
    if best is None:
        return None
    _, job_id, record = best
    weights, previous = foresee(chain, job_id, record)
    return Plan(
        job_id=job_id,
        round=round_at(job_id, height, chain.params),
        spec=load_spec(record, chain.params),
        weights=weights,
        previous=previous,
        limit_s=min(MOST_TIME_S, time_left_s(chain, job_id, height, block_s)),
        limit_bytes=most_committed(SHARES_TO_HAVE, chain.params),
    )


def is_ready(chain: Chain, job_id: bytes, record: JobRecord) -> bool:
    """Return whether it is time to train: the settlement at the end of the round is known, or time runs out."""
    if blocks_left(chain, job_id, chain.head.height + 1) <= PATIENCE_BLOCKS:
        return True
    due = get_due_round(Overlay(chain.state), job_id, record, end_of_round(chain, job_id), chain.params)
    if due is None:
        return True
    return bool(record.sample_hash) and len(due.revealed) == len(due.updates)


def foresee(chain: Chain, job_id: bytes, record: JobRecord) -> tuple[bytes, bytes]:
    """Return the weights that this round's updates will be merged onto, and those that momentum starts from.

    The round's end settles the round before it, whose samples are fixed and whose updates are revealed by then: anybody
    can compute that settlement earlier. What it needs is asked of the verifier, which needs it at the end anyway.
    """
    due = get_due_round(Overlay(chain.state), job_id, record, end_of_round(chain, job_id), chain.params)
    weights = chain.load_weights(record.weights)
    if due is not None and record.sample_hash and (due.tickets or due.revealed):
        spec, rules = load_spec(record, chain.params), chain.rules
        task = make_settle_task(job_id, record, spec, due, rules.load_weights, rules.load_delta)
        settled = rules.verifier.settle(task)
        if settled.weights != weights:
            kept = (record.weights, *record.earlier)[:STEPS_KEPT]
            return settled.weights, chain.load_weights(kept[-1])
    return weights, chain.load_weights(record.earlier[-1]) if record.earlier else b""


def end_of_round(chain: Chain, job_id: bytes) -> int:
    """Return the height that ends the round which the next block is in."""
    return chain.head.height + blocks_left(chain, job_id, chain.head.height + 1)


def blocks_left(chain: Chain, job_id: bytes, height: int) -> int:
    """Return how many blocks a round has from `height` on, with the one there."""
    length = chain.params.round_length
    return -job_height(job_id, height, chain.params) % length + 1


def has_paying_job(chain: Chain) -> bool:
    """Return whether there is work for a trainer, now or soon."""
    jobs = Overlay(chain.state).active_jobs()
    specs = (load_spec(record, chain.params) for _, record in jobs if record.status is JobStatus.LIVE)
    return any(spec.price and spec.budget for spec in specs)


def expect_payment(spec: JobSpec, record: JobRecord) -> float:
    """Return the units that a round's updates can earn together, if the loss goes on falling as it did."""
    losses = record.last_losses
    fall = 1.0
    if len(losses) >= 2 and losses[-2]:
        fall = max(0.001, (losses[-2] - losses[-1]) / losses[-2])
    return min(float(spec.budget), spec.price * fall)


def measure_block_s(chain: Chain) -> float:
    """Return how long a block took of late, seconds."""
    main = chain.index.main
    first = chain.index[main[max(1, len(main) - PACE_BLOCKS)]] if len(main) > 1 else chain.head
    blocks = chain.head.height - first.height
    if blocks < 1:
        return chain.params.interval_ms / 1000
    return (chain.head.time_ms - first.time_ms) / 1000 / blocks


def time_left_s(chain: Chain, job_id: bytes, height: int, block_s: float) -> float:
    """Return the seconds to train in, of the round that the block at `height` is in."""
    return (blocks_left(chain, job_id, height) - BLOCKS_TO_COMMIT) * block_s


def most_shares(params: ChainParams) -> int:
    """The most shares that a commitment of this node has: half of what a block takes."""
    return min(params.update_shares, max(1, params.block_shares // 2))


def take_shares(
    chain: Chain, box: ShareBox, waiting: Sequence[CommitUpdate], update: KeptUpdate
) -> tuple[bytes, ...]:
    """Return the shares for a commitment in the next block, none as long as there are too few for the payload's size;
    RoundOver if the block is in another round.

    At most half of what a block takes, less where others wait for the blocks left of the round: all shall find room.
    """
    params, job_id = chain.params, update.job_id
    now = round_at(job_id, chain.head.height + 1, params)
    if now != update.round:
        raise RoundOver(f"round {update.round} of job {job_id.hex()[:8]} is over, it is round {now}")
    room = params.block_shares * blocks_left(chain, job_id, chain.head.height + 1) // (len(waiting) + 1)
    least = least_shares(len(update.payload), params)
    most = max(least, min(most_shares(params), room))
    taken = frozenset(share for body in waiting for share in body.shares)
    chosen = box.choose(chain, most, taken)
    return tuple(share.encode() for share in chosen) if len(chosen) >= least else ()


def is_due(chain: Chain, update: KeptUpdate) -> bool:
    """Return whether the next block may carry the update's reveal."""
    there = Overlay(chain.state).get_commitments(update.job_id, update.round)
    hidden = any(c.commitment == update.commitment and not c.payload for c in there)
    return hidden and chain.head.height + 1 in reveal_window(update.job_id, update.round, chain.params)


def has_ended(chain: Chain, update: KeptUpdate, mempool: Mempool) -> bool:
    """Return whether nothing can come of the update any more: it is settled, or its round went by without it.

    A settlement counts a round later: a reorganisation may take it back.
    """
    height = chain.head.height + 1
    settled = reveal_window(update.job_id, update.round, chain.params).stop
    if height >= settled:
        return height >= settled + chain.params.round_length
    there = Overlay(chain.state).get_commitments(update.job_id, update.round)
    if any(c.commitment == update.commitment for c in there):
        return False
    bodies = (tx.body for tx in mempool.transactions())
    waits = any(isinstance(b, CommitUpdate) and b.commitment == update.commitment for b in bodies)
    return not waits and round_at(update.job_id, height, chain.params) > update.round
