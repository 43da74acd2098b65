"""What a node keeps beside the state: weights, deltas and settlements of the main chain, and for how long.

Writes belong inside the chain's database transaction. Source: docs/protocol.md, sections 8, 10 and 12.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence

from ledger.blocks import HEARTBEAT, Block
from ledger.errors import DamagedData, LedgerError
from ledger.hashing import check_cid
from ledger.history import TicketPlace, encode_settlement
from ledger.records import JOB, decode_job
from ledger.storage import Storage
from ledger.transition import BlockEffects
from ledger.undo import WeightStep, decode_undo, make_step, take_step_back

DELTAS_KEPT = 1024  # blocks: a reorganisation deeper than this finds no deltas to settle with
PRUNE_EVERY = 16  # blocks


def store_effects(storage: Storage, block: Block, effects: BlockEffects, main: Sequence[bytes]) -> None:
    """Keep what a block brings besides changes of the state."""
    height = block.header.work.height
    if block.header.work.job_id != HEARTBEAT:
        storage.put_delta(block.header.seed, height, zlib.compress(effects.run.delta, 1))
    for cid, weights in effects.weights.items():
        storage.put_weights(cid, weights)
    for event in effects.settlements:
        places = tuple(_place_of(storage, seed, main) for seed in event.tickets)
        replaced = event.old_weights if event.old_weights != event.new_weights else None
        data = encode_settlement(event, places)
        storage.put_settlement(event.job_id, height, block.hash, data, replaced)


def _place_of(storage: Storage, seed: bytes, main: Sequence[bytes]) -> TicketPlace:
    height = storage.get_delta_height(seed)
    return TicketPlace(seed, height, main[height])


def make_steps(storage: Storage, effects: BlockEffects) -> Iterator[WeightStep]:
    """Yield the steps that a block's settlements made in the weights."""
    for event in effects.settlements:
        if event.old_weights != event.new_weights:
            new, old = effects.weights[event.new_weights], load_weights(storage, event.old_weights)
            yield make_step(event.new_weights, new, event.old_weights, old)


def load_weights(storage: Storage, cid: bytes) -> bytes:
    """Return a version's weights; LedgerError if they are none of the main chain's.

    A version older than those kept is made from the next one that is, step by step back.
    """
    steps: list[WeightStep] = []
    wanted = cid
    while (weights := storage.get_weights(wanted)) is None:
        steps.append(_find_step(storage, wanted))
        wanted = steps[-1].new
        if any(step.old == wanted for step in steps):  # the weights came back to what they were
            raise LedgerError(f"weights {cid.hex()} are not kept")
    for step in reversed(steps):
        weights = take_step_back(step, weights)
    if not check_cid(cid, weights):
        raise DamagedData(f"weights {cid.hex()} are not what was written")
    return weights


def _find_step(storage: Storage, cid: bytes) -> WeightStep:
    """Return the step of the settlement that replaced a version."""
    block_hash = storage.find_replacement(cid)
    undo = storage.get_undo(block_hash) if block_hash else None
    steps = decode_undo(undo).steps if undo else ()
    found = next((step for step in steps if step.old == cid), None)
    if found is None:
        raise LedgerError(f"weights {cid.hex()} are not kept")
    return found


def load_delta(storage: Storage, seed: bytes) -> bytes:
    delta = storage.get_delta(seed)
    if delta is None:
        raise LedgerError(f"the delta of ticket {seed.hex()} is not kept any more")
    return zlib.decompress(delta)


def prune(storage: Storage, entries: Mapping[bytes, bytes], head: int, keep: int) -> None:
    """Drop deltas, and all weights but each job's own and the last `keep` versions it left behind.

    So those of a branch that lost go as well. Jobs of one initial seed share their first weights. A job that has ended
    keeps its own for ever: another may go on from them.
    """
    storage.delete_deltas_below(head - DELTAS_KEPT)
    stale = set(storage.list_weights())
    for key, value in entries.items():
        if key[0] == JOB:
            stale.discard(decode_job(value).weights)
            stale.difference_update(storage.list_replaced(key[1:], keep))
    for cid in stale:
        storage.delete_weights(cid)
