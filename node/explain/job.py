"""The story of a job: where it stands and why, what trained it, and where its coins went.

Source: docs/protocol.md, sections 4 and 10.
"""

from __future__ import annotations

from ledger.chain import Chain
from ledger.hashing import cid_text
from ledger.lifecycle import load_spec
from ledger.settlement import Outcome
from ledger.state import Overlay
from node.amounts import format_amount
from node.explain.story import Story, count, name_address, name_job
from node.explain.update import LOSS_UNIT
from node.job_words import Place, describe, name_status


def explain_job(chain: Chain, job_id: bytes) -> Story:
    """Tell a job of the state."""
    record = Overlay(chain.state).get_job(job_id)
    assert record is not None  # found by its id, or named by a transaction that was accepted
    place = Place(job_id, record, chain.head.height, chain.params)
    story = Story("job", job_id.hex(), name_status(place))
    owner = name_address(chain, record.owner)
    story.say(
        f"{owner} submitted {name_job(chain, job_id)} in block {record.submitted}.",
        owner=owner,
        submitted=record.submitted,
    )
    _tell_parent(story, chain, job_id)
    _tell_evaluation(story, chain, job_id)
    reason, next_step = describe(place)
    story.say(reason, reason=record.reason.name.lower())
    _tell_training(story, chain, job_id)
    _tell_money(story, chain, job_id)
    if next_step:
        story.say(next_step)
    return story


def _tell_parent(story: Story, chain: Chain, job_id: bytes) -> None:
    record = Overlay(chain.state).get_job(job_id)
    assert record is not None
    spec = load_spec(record, chain.params)
    parent = Overlay(chain.state).get_job(spec.parent) if spec.parent else None
    if parent is None:
        return
    story.say(
        f"It continues {name_job(chain, spec.parent)} at version {parent.version}, the last: its weights, their last "
        "steps and payloads, which nobody is paid for again, and its provenance.",
        parent=spec.parent.hex(),
        parent_version=parent.version,
        parent_weights=cid_text(spec.parent_weights),
    )


def _tell_evaluation(story: Story, chain: Chain, job_id: bytes) -> None:
    record = Overlay(chain.state).get_job(job_id)
    assert record is not None
    root = load_spec(record, chain.params).evaluation
    if root:
        story.say(
            "Its owner committed to a secret evaluation split, whose tranches tell whether the weights do well on "
            "samples that nobody had.",
            evaluation=root.hex(),
        )


def _tell_training(story: Story, chain: Chain, job_id: bytes) -> None:
    record = Overlay(chain.state).get_job(job_id)
    assert record is not None
    settled = chain.list_settlements(job_id)
    tickets = sum(len(s.tickets) for s in settled)
    updates = [r for s in settled for r in s.settlement.updates]
    paid = [r for r in updates if r.outcome is Outcome.PAID]
    if not record.last_losses:
        story.say("No round has settled yet.", settlements=0)
        return
    first, last = record.first_loss * LOSS_UNIT, record.last_losses[-1] * LOSS_UNIT
    story.say(
        f"{count(len(settled), 'settlement')} of {count(tickets, 'ticket')} and {count(len(updates), 'update')} ("
        f"{len(paid)} paid) brought its loss from {first:.6g} to {last:.6g} (samples of the judging split), version "
        f"{record.version} of its weights.",
        settlements=len(settled),
        tickets=tickets,
        updates=len(updates),
        paid_updates=len(paid),
        paid=str(sum(r.amount for r in paid)),
        first_loss=first,
        last_loss=last,
        version=record.version,
        provenance=record.provenance.hex(),
    )


def _tell_money(story: Story, chain: Chain, job_id: bytes) -> None:
    record = Overlay(chain.state).get_job(job_id)
    assert record is not None
    spec = load_spec(record, chain.params)
    if record.escrow or record.lock:
        held = (
            f"{format_amount(record.escrow)} are in its escrow. No heights are drawn for it, so it burns its rent only"
            if spec.market_only
            else f"{format_amount(record.escrow)} are in its escrow and {format_amount(record.lock)} in its lock. "
            f"A height drawn for it burns {format_amount(spec.burn)}"
        )
        story.say(
            f"{held}; updates earn up to {format_amount(spec.budget)} a round.",
            escrow=str(record.escrow),
            lock=str(record.lock),
            burn=str(spec.burn),
            price=str(spec.price),
            budget=str(spec.budget),
        )
