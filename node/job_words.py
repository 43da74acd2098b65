"""Where a job stands, in sentences: why its status is what it is, and what happens next or what to do.

Source: docs/protocol.md, sections 4 and 10.
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger.params import ChainParams
from ledger.records import JobRecord, JobStatus, Reason
from ledger.slots import job_height, round_at

WHY_CLOSED = {
    Reason.NONE: "It has ended.",
    Reason.TARGET: "Its target loss was reached.",
    Reason.ESCROW: "Its escrow did not cover another round.",
    Reason.LIFETIME: "Its lifetime was over.",
    Reason.STALLED: "Its settlements did not improve the weights any more.",
    Reason.CANCELLED: "Its owner cancelled it.",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A job in the state after the head."""

    job_id: bytes
    record: JobRecord
    height: int
    params: ChainParams

    @property
    def is_waiting(self) -> bool:
        """Whether its first round has not begun at the next height."""
        return (
            self.record.status is JobStatus.LIVE
            and round_at(self.job_id, self.height + 1, self.params) < self.record.first_round
        )

    @property
    def next_boundary(self) -> int:
        """The next height at which one of its rounds ends."""
        length = self.params.round_length
        return self.height + length - job_height(self.job_id, self.height, self.params) % length

    @property
    def settles_at(self) -> int | None:
        """The boundary at which its oldest pending round settles, None if it has no tickets that wait."""
        if not self.record.pending:
            return None
        length = self.params.round_length
        offset = int.from_bytes(self.job_id[:4], "big") % length
        return (self.record.pending[0].round + 2) * length - offset


def show_text(text: str) -> str:
    """Return a stranger's text with what would steer a terminal, or hide text, replaced by U+FFFD."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def name_status(place: Place) -> str:
    return "waiting" if place.is_waiting else place.record.status.name.lower()


def describe(place: Place) -> tuple[str, str]:
    """Return (reason, next step) of a job in the chain."""
    if place.is_waiting:
        return _describe_waiting(place)
    match place.record.status:
        case JobStatus.LIVE:
            return _describe_live(place)
        case JobStatus.CLOSING:
            return (
                f"It is closing. {WHY_CLOSED[place.record.reason]}",
                f"Its last {'updates' if place.record.is_market_only else 'tickets'} settle at height "
                f"{place.next_boundary}; then the rest of the escrow goes back.",
            )
        case JobStatus.SUSPENDED:
            return _describe_suspended(place)
        case JobStatus.DONE | JobStatus.CANCELLED:
            return WHY_CLOSED[place.record.reason], "Nothing more happens: its weights can be downloaded."


def _describe_waiting(place: Place) -> tuple[str, str]:
    length = place.params.round_length
    offset = int.from_bytes(place.job_id[:4], "big") % length
    first = place.record.first_round * length + 1 - offset
    return (
        f"Its first round begins at height {first}; the chain is at {place.height}.",
        "It is trained from then on; nothing needs to be done.",
    )


def _describe_live(place: Place) -> tuple[str, str]:
    record = place.record
    if record.reason is Reason.CANCELLED:
        return "Its owner asked to cancel it.", f"It begins to close at height {place.next_boundary}."
    if record.is_market_only:
        return _describe_market(place)
    if record.stall:
        reason = f"It is trained, but its last {record.stall} settlements did not improve the weights."
    elif not record.last_losses and not record.pending:
        reason = "It is trained at the heights drawn for it; no ticket has won yet."
    else:
        reason = "It is trained at the heights drawn for it."
    settles = place.settles_at
    if settles is None:
        return (
            reason,
            f"The first ticket is waited for; the round under way ends at height {place.next_boundary}.",
        )
    return reason, f"Its next tickets settle at height {settles}."


def _describe_market(place: Place) -> tuple[str, str]:
    record = place.record
    reason = "Miners' updates alone train it; no heights are drawn for it."
    if record.stall:
        reason += f" Its last {record.stall} settlements did not improve the weights."
    elif not record.last_losses:
        reason += " None has been settled yet."
    return (
        reason,
        f"The round under way ends at height {place.next_boundary}; its updates settle a round later.",
    )


def _describe_suspended(place: Place) -> tuple[str, str]:
    record, params = place.record, place.params
    return (
        f"{record.lost.bit_count()} of its last {params.draw_window} drawn heights went to the heartbeat:"
        " miners find no winning run for it.",
        f"From height {record.suspended_until} it goes on if its escrow covers a new lock, else it closes;"
        " a lower learning rate in a new job may help.",
    )
