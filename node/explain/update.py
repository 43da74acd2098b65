"""The story of an update: committed, revealed, judged, and what it was paid for.

Source: docs/protocol.md, sections 7.1 and 10.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ledger.blocks import Block, decode_header
from ledger.chain import Chain
from ledger.commitments import Commitment
from ledger.history import SettlementRecord
from ledger.jobspec import JobSpec
from ledger.lifecycle import load_spec
from ledger.market import reveal_window
from ledger.privacy import ONE_DELTA, ONE_EPSILON, PrivacyRecord
from ledger.settlement import Outcome, Settlement, UpdateResult
from ledger.slots import job_height
from ledger.state import Overlay
from ledger.transactions import CommitUpdate, RevealUpdate, Transaction
from node.amounts import format_amount
from node.explain.story import Story, count, name_address, name_job

LOSS_UNIT = 2.0**-40


@dataclass(frozen=True, slots=True)
class UpdatePlace:
    """Which update is meant."""

    job_id: bytes
    round: int
    commitment: bytes


def explain_update(chain: Chain, place: UpdatePlace) -> Story:
    """Tell an update of the main chain, from its commitment to its payment."""
    record, result = find_settlement(chain, place)
    waiting = find_waiting(chain, place)
    update = result.update if result else waiting
    verdict = str(result.outcome) if result else ("revealed" if update and update.payload else "committed")
    story = Story("update", place.commitment.hex(), verdict)
    if update is None:
        story.verdict = "unknown"
        story.say("The state holds no such commitment, and no settlement judged one.")
        return story
    _tell_commit(story, chain, place, update)
    _tell_reveal(story, chain, place, update)
    if result is not None and record is not None:
        _tell_verdict(story, chain, place, record, result)
    else:
        _tell_future(story, chain, place, update)
    return story


def find_settlement(chain: Chain, place: UpdatePlace) -> tuple[SettlementRecord | None, UpdateResult | None]:
    """Return the settlement that judged an update, and what it said."""
    for record in chain.list_settlements(place.job_id):
        if record.settlement.round == place.round:
            for result in record.settlement.updates:
                if result.update.commitment == place.commitment:
                    return record, result
    return None, None


def find_waiting(chain: Chain, place: UpdatePlace) -> Commitment | None:
    there = Overlay(chain.state).get_commitments(place.job_id, place.round)
    return next((c for c in there if c.commitment == place.commitment), None)


def find_commit(chain: Chain, place: UpdatePlace) -> tuple[int, Transaction] | None:
    """Return the height and transaction of a commitment."""
    length, shift = chain.params.round_length, job_height(place.job_id, 0, chain.params)
    first = place.round * length + 1 - shift
    for height, tx in list_transactions(chain, range(first, first + length)):
        if isinstance(tx.body, CommitUpdate) and tx.body.commitment == place.commitment:
            return height, tx
    return None


def find_reveal(chain: Chain, place: UpdatePlace, payload: bytes) -> tuple[int, Transaction] | None:
    """Return the height and transaction of a reveal."""
    window = reveal_window(place.job_id, place.round, chain.params)
    for height, tx in list_transactions(chain, window):
        if isinstance(tx.body, RevealUpdate) and tx.body.payload == payload:
            return height, tx
    return None


def list_transactions(chain: Chain, heights: Iterable[int]) -> Iterator[tuple[int, Transaction]]:
    """Yield the main chain's transactions at these heights, as far as there are blocks."""
    for height in heights:
        block_hash = chain.get_main_hash(height) if height > 0 else None
        block: Block | None = chain.get_block(block_hash) if block_hash else None
        for tx in block.transactions if block else ():
            yield height, tx


def _tell_commit(story: Story, chain: Chain, place: UpdatePlace, update: Commitment) -> None:
    found = find_commit(chain, place)
    where = f"in block {found[0]}" if found else "in a block"
    miner = name_address(chain, update.miner)
    story.say(
        f"{miner} committed to it {where}, in round {place.round} of {name_job(chain, place.job_id)}.",
        job=place.job_id.hex(),
        round=place.round,
        miner=miner,
        committed_at=found[0] if found else None,
        commit_txid=found[1].txid.hex() if found else None,
    )
    shares = _show_shares(found[1]) if found else []
    runs = f" (of heights {', '.join(str(s['height']) for s in shares)})" if shares else ""
    story.say(
        f"Its weight is {count(update.shares, 'share')}: training runs of its miner that nearly won{runs}, each "
        "replayed by every node and spent by this.",
        shares=shares or update.shares,
    )
    story.say(
        f"It locked a bond of {format_amount(update.bond)} and paid {format_amount(update.prepaid)} for its "
        "judgement.",
        bond=str(update.bond),
        prepaid=str(update.prepaid),
    )


def _show_shares(tx: Transaction) -> list[dict[str, object]]:
    assert isinstance(tx.body, CommitUpdate)
    headers = [decode_header(share) for share in tx.body.shares]
    return [
        {
            "seed": h.seed.hex(),
            "height": h.work.height,
            "job": h.work.job_id.hex(),
            "parent": h.work.parent.hex(),
        }
        for h in headers
    ]


def _tell_reveal(story: Story, chain: Chain, place: UpdatePlace, update: Commitment) -> None:
    if not update.payload:
        return
    found = find_reveal(chain, place, update.payload)
    where = f"in block {found[0]}" if found else "in time"
    story.say(
        f"Its payload of {update.size:,} bytes was revealed {where}, after the block that fixed its samples.",
        payload_bytes=update.size,
        revealed_at=found[0] if found else None,
        reveal_txid=found[1].txid.hex() if found else None,
    )
    if update.privacy:
        _tell_privacy(story, update.privacy)


def _tell_privacy(story: Story, record: PrivacyRecord) -> None:
    """What the miner says of it: the arithmetic can be done again, the noise cannot be seen."""
    from training.private.cost import count_total, find_epsilon  # numpy: not for every story

    spent, total = find_epsilon(record.spent, record.delta), record.epsilon / ONE_EPSILON
    delta, clip, noise = record.delta / ONE_DELTA, record.clip * 2.0**-24, record.noise * 2.0**-24
    story.say(
        f"Its miner says that it tells of private samples ({record.data_id.hex()[:12]}) by "
        f"{count(record.steps, 'sum')} of gradients no longer than {clip:.4g}, with noise of {noise:.4g} times that: "
        f"epsilon {spent:.3g} of {total:g} is spent on these samples, at delta {delta:g}. The arithmetic follows from "
        "the numbers; whether noise was added nobody can see.",
        privacy={
            "data_id": record.data_id.hex(),
            "epsilon": total,
            "delta": delta,
            "clip": clip,
            "noise": noise,
            "steps": record.steps,
            "cost_units": str(record.cost),
            "spent_units": str(record.spent),
            "spent_epsilon": spent,
        },
    )
    if record.spent > count_total(record.epsilon, record.delta):
        story.say("That is more than the total it names: the promise does not hold.")


def _tell_future(story: Story, chain: Chain, place: UpdatePlace, update: Commitment) -> None:
    window = reveal_window(place.job_id, place.round, chain.params)
    if not update.payload:
        story.say(
            f"It waits to be revealed in blocks {window.start} to {window.stop - 1} (the chain is at "
            f"{chain.head.height}); if it is not, its bond is burned.",
            window=[window.start, window.stop - 1],
        )
    story.say(f"It is judged in block {window.stop - 1}.", settles_at=window.stop - 1)


def _tell_verdict(
    story: Story, chain: Chain, place: UpdatePlace, record: SettlementRecord, result: UpdateResult
) -> None:
    event = record.settlement
    judged = [r for r in event.updates if r.outcome not in (Outcome.VOID, Outcome.UNREVEALED)]
    story.facts |= {"settled_at": record.height, "block": record.block.hex()}
    match result.outcome:
        case Outcome.UNREVEALED:
            window = reveal_window(place.job_id, place.round, chain.params)
            story.say(
                f"It was not revealed in blocks {window.start} to {window.stop - 1}: its bond was burned in block "
                f"{record.height}.",
                lost=str(result.amount),
            )
        case Outcome.VOID:
            story.say(
                f"Its payload is not one of this job's (section 10.2 of the protocol), so it could not be judged: its "
                f"bond was burned in block {record.height}.",
                lost=str(result.amount),
            )
        case _:
            _tell_credit(story, record, result, 1 + judged.index(result), len(judged))
            _tell_payment(story, chain, place, record, result)


def _tell_credit(story: Story, record: SettlementRecord, result: UpdateResult, number: int, of: int) -> None:
    event = record.settlement
    base = event.credit_base
    part = result.credit / base if base else 0.0
    story.say(
        f"Block {record.height} judged it, as number {number} of {of}, on samples nobody could know when it was "
        f"committed. {_tell_merges(event)}",
        position=number,
        judged=of,
        scale=event.scale,
        known_scale=event.known_scale,
        update_scale=event.update_scale,
        credit_base_units=str(base),
        credit_units=str(result.credit),
        credit=part,
    )
    if event.update_scale == "0":
        story.say("No step along the mean of the round's updates lowered the loss, so none was credited.")
        return
    verb = "lowered" if result.credit > 0 else "raised" if result.credit < 0 else "did not change"
    by = f" by {100 * abs(part):.4f} %" if result.credit else ""
    story.say(f"Added after those before it, it {verb} the loss on fresh training samples{by}.")


def _tell_merges(event: Settlement) -> str:
    """What was merged before the updates counts for nobody: they are credited for what they add to it."""
    before = [f"tickets at scale {event.scale}"] if event.scale else []
    if event.known_scale:
        before.append(f"what updates have of known steps at scale {event.known_scale}")
    updates = f"updates were merged at scale {event.update_scale}"
    return f"First {' and '.join(before)}, unpaid; then {updates}." if before else f"{updates.capitalize()}."


def _tell_payment(
    story: Story, chain: Chain, place: UpdatePlace, record: SettlementRecord, result: UpdateResult
) -> None:
    spec, event = _spec_of(chain, place), record.settlement
    positive = sum(r.credit for r in event.updates if r.credit > 0)
    limited = spec.price * positive > spec.budget * event.credit_base
    story.facts |= {
        "price": str(spec.price),
        "budget": str(spec.budget),
        "positive_credits_units": str(positive),
        "limited_by_budget": limited,
        "amount": str(result.amount),
    }
    rate = (
        f"the round's budget of {format_amount(spec.budget)}, shared by all credits"
        if limited
        else f"{format_amount(spec.price)} for the whole loss"
    )
    bond = format_amount(result.update.bond)
    match result.outcome:
        case Outcome.PAID:
            story.say(f"It earned {format_amount(result.amount)} ({rate}); its bond of {bond} came back.")
        case Outcome.FINED:
            story.say(
                f"It was fined {format_amount(result.amount)} of its bond of {bond} ({rate}; never more than that), "
                "which went to the job's escrow."
            )
        case _:
            story.say(f"It earned nothing; its bond of {bond} came back.")
    payable = record.height + chain.params.maturity
    story.say(f"What it got can be spent from block {payable} on.", matures_at=payable)


def _spec_of(chain: Chain, place: UpdatePlace) -> JobSpec:
    record = Overlay(chain.state).get_job(place.job_id)
    assert record is not None  # a settlement names it, and jobs are never removed
    return load_spec(record, chain.params)
