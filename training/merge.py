"""How a round is settled: its tickets, then what its updates say about known steps, then what they add (section 10).

Three samples judge three things: what anybody can know without training (tickets and steps of before), the updates'
line search, and what each update is credited.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from training.errors import BadInput, PayloadRefused
from training.exact.integers import MAX_TOTAL_WEIGHT, Delta, Direction, Integers, make_direction
from training.hashing import compute_cid
from training.payload import decode_payload
from training.settlement import (
    SCALES,
    LineSearch,
    Merge,
    SumLosses,
    merge_deltas,
    move_weights,
    search_line,
    skip_search,
    take_out_all,
    take_out_of_each,
)

MAX_UPDATES = 64  # of a round
STEPS_KNOWN = 4  # the last ones of the weights: updates are followed along them, but not paid for it


@dataclass(frozen=True, slots=True)
class Update:
    """A revealed update: where its payload lies, the size it was committed with, and its weight, that is its shares."""

    payload_cid: bytes
    size: int
    weight: int


@dataclass(frozen=True, slots=True)
class Settled:
    """A settled round. Losses are sums, in units of 2^-40; those of a line search are at the scales 4, 2, 1, 1/2, 1/4,
    1/8, 0, on `sample_count` samples.

    `scale_index`, `scale` and `losses` are of the tickets' line search: -1, "" and () for a round without tickets;
    `known_scale` and `known_losses` of that along the updates' known part: "" and () where there is none;
    `update_scale` and `update_losses` of the updates': "" and () where no update was valid. `loss_before` is that of
    the old weights in the first line search made, `loss_after` the lowest of the last one; if none was made, both, the
    sample's count and the split's numbers are 0. `split_loss` is over the whole judging split of `split_count`, or
    both are 0 where that is too large. `credits` has an entry for every update, None for a void one; the first ones'
    credits add up to what they lower the loss by from `credit_base`, L_0, which is 0 where no update was valid.
    """

    weights: bytes
    scale_index: int
    scale: str
    losses: tuple[int, ...]
    sample_count: int
    split_loss: int
    split_count: int
    loss_before: int
    loss_after: int
    known_scale: str
    known_losses: tuple[int, ...]
    update_scale: str
    update_losses: tuple[int, ...]
    credits: tuple[int | None, ...]
    credit_base: int


@dataclass(frozen=True, slots=True)
class Judges:
    """Sums of exact losses on the three samples, of `count` each, and on the whole split where it is small enough."""

    known: SumLosses
    updates: SumLosses
    credits: SumLosses
    count: int
    split: SumLosses | None
    split_count: int


@dataclass(frozen=True, slots=True)
class _Market:
    """What the updates came to: their line search, the credits of the valid ones, and the loss these start from."""

    search: LineSearch
    credits: list[int]
    base: int


def load_updates(
    updates: Sequence[Update], load_blob: Callable[[bytes], bytes], count: int
) -> Iterator[tuple[int, Integers | None]]:
    """Pairs of weight and delta of `count` entries, decoded one at a time, without a delta where the payload is void.

    All payloads are loaded at the first: what `load_blob` raises comes before any work.
    """
    _check_weights([update.weight for update in updates])
    payloads = [_load_payload(update, load_blob) for update in updates]
    for update, payload in zip(updates, payloads, strict=True):
        yield update.weight, _read_payload(payload, update.size, count)


def _check_weights(weights: Sequence[int]) -> None:
    if len(weights) > MAX_UPDATES or any(weight < 1 for weight in weights) or sum(weights) > MAX_TOTAL_WEIGHT:
        raise BadInput(
            f"updates: at most {MAX_UPDATES} with positive weights, together at most {MAX_TOTAL_WEIGHT}, expected,"
            f" got {len(weights)} with {list(weights)}"
        )


def _load_payload(update: Update, load_blob: Callable[[bytes], bytes]) -> bytes:
    payload = load_blob(update.payload_cid)
    if compute_cid(payload) != update.payload_cid:  # no verdict on a miner: this machine's store is at fault
        raise BadInput(
            f"payload: {update.payload_cid.hex()} expected, the blob has {compute_cid(payload).hex()}"
        )
    return payload


def _read_payload(payload: bytes, size: int, count: int) -> Integers | None:
    if len(payload) != size:
        return None
    try:
        return decode_payload(payload, count)
    except PayloadRefused:
        return None


def settle_round(
    weights: Integers,
    earlier: Sequence[Integers],
    deltas: Sequence[Integers],
    updates: Iterable[tuple[int, Integers | None]],
    last_updates: Iterable[tuple[int, Integers | None]],
    judges: Judges,
) -> Settled:
    """Merge a round's tickets and updates onto the weights.

    `earlier` are the weights before each of the last settlements that moved them, the newest first, at most
    STEPS_KNOWN; `updates` as from load_updates, which are read once and not kept as they are; `last_updates` are those
    of the round settled last.
    """
    mean = merge_deltas(deltas) if deltas else None
    tickets = skip_search(weights) if mean is None else search_line(weights, mean, judges.known)
    known = find_known_steps(mean, weights, earlier, last_updates)
    valid, is_void = _keep_valid(updates)
    along = _search_known_part(tickets.weights, valid, known, judges)
    deltas = [delta for _, delta in valid]
    for i, left in enumerate(take_out_of_each(deltas, known)):
        # In their places: a round may have 64 of 4 MiB.
        valid[i], deltas[i] = (valid[i][0], left), left
    market = _judge_updates(along.weights, valid, judges)
    credits = iter(market.credits)
    return _describe(
        tickets, along, market, tuple(None if void else next(credits) for void in is_void), judges
    )


def _keep_valid(
    updates: Iterable[tuple[int, Integers | None]],
) -> tuple[list[tuple[int, Delta]], list[bool]]:
    """The valid updates, their deltas as int32, and of all updates which are void."""
    valid: list[tuple[int, Delta]] = []
    is_void: list[bool] = []
    for weight, delta in updates:
        is_void.append(delta is None)
        if delta is not None:
            valid.append((weight, delta.astype(np.int32)))
    return valid, is_void


def _search_known_part(
    start: Integers, valid: Sequence[tuple[int, Delta]], known: Sequence[Direction], judges: Judges
) -> LineSearch:
    """What the updates' mean has of the known steps is followed as far as it helps, and nobody is paid for it.

    Updates say how far to go along them, or back; taken out and not followed, it would be lost to the owner.
    """
    if not valid or not known:
        return skip_search(start)
    mean = _merge(valid).compute_mean()
    return search_line(start, mean - take_out_all(mean, known), judges.known)


def _merge(updates: Sequence[tuple[int, Delta]]) -> Merge:
    return Merge([delta for _, delta in updates], [weight for weight, _ in updates])


def find_known_steps(
    mean: Integers | None,
    weights: Integers,
    earlier: Sequence[Integers],
    last_updates: Iterable[tuple[int, Integers | None]],
) -> list[Direction]:
    """What anybody can know without training: the tickets' mean, the last steps, the newest first, and the mean of the
    last updates, each without those before it."""
    known = [] if mean is None else [make_direction(mean)]
    steps = [after - before for after, before in pairwise([weights, *earlier])]
    last, _ = _keep_valid(last_updates)
    if last:
        steps.append(_merge(last).compute_mean())
    for step in steps:
        known.append(make_direction(take_out_all(step, known)))
    return known


def _judge_updates(start: Integers, valid: Sequence[tuple[int, Delta]], judges: Judges) -> _Market:
    if not valid:
        return _Market(skip_search(start), [], 0)
    merge = _merge(valid)
    search = search_line(start, merge.compute_mean(), judges.updates)
    base = judges.credits(start)
    return _Market(search, list(_credit(start, base, merge, SCALES[search.index], judges)), base)


def _credit(start: Integers, base: int, merge: Merge, scale: int, judges: Judges) -> Iterator[int]:
    """What each update lowers the loss by after those before it; nothing if the weights do not move."""
    before = base
    for mean in merge.iterate_means():
        after = judges.credits(move_weights(start, mean, scale)) if scale else before
        yield before - after
        before = after


def _describe(
    tickets: LineSearch,
    along: LineSearch,
    market: _Market,
    credits: tuple[int | None, ...],
    judges: Judges,
) -> Settled:
    end = market.search.weights
    searches = [search for search in (tickets, along, market.search) if search.made]
    split = judges.split if searches else None
    return Settled(
        weights=end.astype("<i8").tobytes(),
        scale_index=tickets.index,
        scale=tickets.scale,
        losses=tickets.losses,
        sample_count=judges.count if searches else 0,
        split_loss=split(end) if split else 0,
        split_count=judges.split_count if split else 0,
        loss_before=searches[0].losses[-1] if searches else 0,  # at scale 0
        loss_after=searches[-1].losses[searches[-1].index] if searches else 0,
        known_scale=along.scale,
        known_losses=along.losses,
        update_scale=market.search.scale,
        update_losses=market.search.losses,
        credits=credits,
        credit_base=market.base,
    )
