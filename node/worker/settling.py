"""A settlement between the node and its training process: the task and its outcome as frames."""

from __future__ import annotations

from ledger.jobspec import decode_spec, encode_spec
from ledger.params import ChainParams
from ledger.work import RevealedUpdate, Settled, SettleTask
from node.worker.wire import Frame

LOSS_BYTES = 16


def encode_settle_task(task: SettleTask) -> Frame:
    updates, last = (
        [[u.payload, u.size, u.weight] for u in some] for some in (task.updates, task.last_updates)
    )
    weights = [task.weights, list(task.earlier)]
    return [encode_spec(task.spec), *weights, list(task.deltas), updates, last, list(task.sample_seeds)]


def decode_settle_task(arguments: Frame, params: ChainParams) -> SettleTask:
    spec, weights, earlier, deltas, updates, last, seeds = arguments
    return SettleTask(
        spec=decode_spec(spec, params),
        weights=weights,
        earlier=tuple(earlier),
        deltas=tuple(deltas),
        updates=tuple(RevealedUpdate(*update) for update in updates),
        last_updates=tuple(RevealedUpdate(*update) for update in last),
        sample_seeds=tuple(seeds),
    )


def encode_settled(done: Settled) -> Frame:
    losses = [_pack(done.loss_before), _pack(done.loss_after), _pack(done.split_loss)]
    counts = [done.sample_count, done.split_count]
    credits = [[] if credit is None else [_pack(credit)] for credit in done.credits]
    scales = [done.scale, done.known_scale, done.update_scale]
    return [done.weights, scales, losses, counts, credits, _pack(done.credit_base)]


def decode_settled(answer: Frame) -> Settled:
    weights, scales, losses, (sample_count, split_count), credits, base = answer
    scale, known_scale, update_scale = scales
    before, after, split_loss = (_unpack(loss) for loss in losses)
    return Settled(
        weights=weights,
        scale=scale,
        loss_before=before,
        loss_after=after,
        sample_count=sample_count,
        split_loss=split_loss,
        split_count=split_count,
        known_scale=known_scale,
        update_scale=update_scale,
        credits=tuple(_unpack(credit[0]) if credit else None for credit in credits),
        credit_base=_unpack(base),
    )


def _pack(value: int) -> bytes:
    return value.to_bytes(LOSS_BYTES, "big", signed=True)


def _unpack(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)
