"""One template's nonces, tried one after the other. Source: docs/protocol.md, section 7."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ledger.blocks import Header, WorkHeader, decode_header
from ledger.jobspec import JobSpec, decode_spec
from ledger.params import MAX_TARGET, ChainParams
from ledger.work import TicketTask, WorkVerifier
from node.worker.wire import Frame

STUCK_AFTER = 16  # invalid runs in a row: the job diverges or is done, the heartbeat is cheaper
RESULT_BYTES = 64  # a header's digest and losses, zeros in a template


@dataclass(slots=True)
class MiningRound:
    """A template with the nonce to try next. `number` names it to the node."""

    number: int
    work: WorkHeader
    threshold: int
    spec: JobSpec | None
    weights: bytes
    nonce: int
    runs: int = 0
    valid: int = 0
    invalid_in_a_row: int = 0
    share_limit: int = 0  # a valid run under it gives an update weight

    @property
    def is_stuck(self) -> bool:
        return self.invalid_in_a_row >= STUCK_AFTER

    def keep_on(self, earlier: MiningRound) -> None:
        """Take over the count of invalid runs if this is the same work with newer transactions."""
        if (earlier.work.parent, earlier.spec) == (self.work.parent, self.spec):
            self.invalid_in_a_row = earlier.invalid_in_a_row

    def try_next(self, verifier: WorkVerifier) -> Frame | None:
        """Do one training run; return [event, nonce, digest, before, after, delta] if it is "found" or a "share"."""
        work = replace(self.work, nonce=self.nonce)
        self.nonce = (self.nonce + 1) % 2**64
        run = verifier.run(TicketTask(work.seed, work.parent, self.spec, self.weights))
        self.runs += 1
        if run.after >= run.before:
            self.invalid_in_a_row += 1
            return None
        self.valid += 1
        self.invalid_in_a_row = 0
        ticket = Header(work, run.digest, run.before, run.after).ticket
        if ticket >= max(self.threshold, self.share_limit):
            return None
        losses = (run.before.to_bytes(16, "big"), run.after.to_bytes(16, "big"))
        event = "found" if ticket < self.threshold else "share"
        return [event, work.nonce, run.digest, *losses, run.delta]

    def take_counts(self) -> tuple[int, int]:
        """Return (runs, valid ones) since the last call."""
        counts = (self.runs, self.valid)
        self.runs = self.valid = 0
        return counts


def encode_mining(
    number: int, work: WorkHeader, threshold: int, spec: bytes, weights: bytes, nonce: int
) -> Frame:
    return [number, work.encode(), threshold.to_bytes(32, "big"), spec, weights, nonce]


def decode_mining(arguments: Frame, params: ChainParams) -> MiningRound:
    number, work, threshold_bytes, spec, weights, nonce = arguments
    threshold = int.from_bytes(threshold_bytes, "big")
    return MiningRound(
        number=number,
        work=decode_header(work + bytes(RESULT_BYTES)).work,
        threshold=threshold,
        share_limit=min(MAX_TARGET, threshold * params.share_factor),
        spec=decode_spec(spec, params) if spec else None,
        weights=weights,
        nonce=nonce,
    )
