"""Bytes of a settlement as the database keeps it: what provenance and loss curves are made from."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.codec import Encodable, decode, encode, read_bytes, read_list, read_str, read_uint
from ledger.commitments import Commitment
from ledger.privacy import list_privacy, split_privacy
from ledger.settlement import Outcome, Settlement, UpdateResult

MAX_RECORD_BYTES = 1 << 20
LOSS_BYTES = 16


@dataclass(frozen=True, slots=True)
class TicketPlace:
    """A ticket that took part in a settlement, and the block that carried it."""

    seed: bytes
    height: int
    block: bytes


@dataclass(frozen=True, slots=True)
class SettlementRecord:
    """A settlement of the main chain with the blocks of its tickets."""

    settlement: Settlement
    height: int
    block: bytes
    tickets: tuple[TicketPlace, ...]


def encode_settlement(event: Settlement, tickets: tuple[TicketPlace, ...]) -> bytes:
    losses = [
        value.to_bytes(LOSS_BYTES, "big") for value in (event.loss_before, event.loss_after, event.split_loss)
    ]
    return encode(
        [
            *(event.job_id, event.round, event.version, event.scale),
            *losses,
            *(event.sample_count, event.split_count, event.old_weights, event.new_weights),
            [[t.seed, t.height, t.block] for t in tickets],
            *(event.known_scale, event.update_scale, event.credit_base.to_bytes(LOSS_BYTES, "big")),
            [_list_result(result) for result in event.updates],
        ]
    )


def _list_result(result: UpdateResult) -> Encodable:
    update, credit = result.update, result.credit
    place: list[Encodable] = [
        update.commitment,
        update.miner,
        update.shares,
        update.bond,
        update.prepaid,
        update.size,
    ]
    size, sign = abs(credit).to_bytes(LOSS_BYTES, "big"), int(credit < 0)
    verdict: list[Encodable] = [update.payload, str(result.outcome), size, sign, result.amount]
    return [*place, *verdict, *list_privacy(update.privacy)]


def decode_settlement(height: int, block: bytes, data: bytes) -> SettlementRecord:
    values = read_list(decode(data, MAX_RECORD_BYTES), "settlement", 16)
    job_id, number, version, scale, before, after, split, samples, split_count, old, new, rows, *market = (
        values
    )
    known_scale, update_scale, credit_base, updates = market
    tickets = tuple(_read_place(row) for row in read_list(rows, "tickets"))
    settlement = Settlement(
        job_id=read_bytes(job_id, "job", 32),
        round=read_uint(number, "round"),
        version=read_uint(version, "version"),
        tickets=tuple(t.seed for t in tickets),
        scale=read_str(scale, "scale", 8),
        loss_before=_read_loss(before),
        loss_after=_read_loss(after),
        sample_count=read_uint(samples, "samples"),
        split_loss=_read_loss(split),
        split_count=read_uint(split_count, "split"),
        old_weights=read_bytes(old, "weights", 36),
        new_weights=read_bytes(new, "weights", 36),
        known_scale=read_str(known_scale, "scale", 8),
        update_scale=read_str(update_scale, "scale", 8),
        credit_base=_read_loss(credit_base),
        updates=tuple(_read_result(row) for row in read_list(updates, "updates")),
    )
    return SettlementRecord(settlement, height, block, tickets)


def _read_result(row: object) -> UpdateResult:
    values, privacy = split_privacy(row, "update", 11)
    commitment, miner, shares, bond, prepaid, size, payload, outcome, credit, negative, amount = values
    update = Commitment(
        read_bytes(commitment, "commitment", 32),
        read_bytes(miner, "miner", 20),
        read_uint(shares, "shares"),
        read_uint(bond, "bond"),
        read_uint(prepaid, "prepaid"),
        read_uint(size, "size"),
        read_bytes(payload, "payload", limit=36),
        privacy,
    )
    signed = -_read_loss(credit) if read_uint(negative, "sign", 0, 1) else _read_loss(credit)
    return UpdateResult(
        update, Outcome(read_str(outcome, "outcome", 16)), signed, read_uint(amount, "amount")
    )


def _read_loss(value: object) -> int:
    return int.from_bytes(read_bytes(value, "loss", LOSS_BYTES), "big")


def _read_place(row: object) -> TicketPlace:
    seed, height, block = read_list(row, "ticket", 3)
    return TicketPlace(
        read_bytes(seed, "seed", 32), read_uint(height, "height"), read_bytes(block, "block", 32)
    )
