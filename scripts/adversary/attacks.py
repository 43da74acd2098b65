"""The attack zoo: all attacks by name. The docstring of each says what it tries."""

from __future__ import annotations

from attack import Attack, Honest
from copiers import (
    DriftCopier,
    HistoryCopier,
    HistorySigner,
    MeanCopier,
    OlderHistoryCopier,
    OldestHistoryCopier,
    PayloadCopier,
    ScaledTicketCopier,
    TicketAdam,
    TicketCopier,
    TicketSigner,
)
from harm import Backdoor, Poisoner
from identities import Chooser, Garbage, NonRevealer, SelectiveRevealer, Split, Sybils, Whale, WrongSize
from idlers import (
    HeadStart,
    LazyStep,
    LazyStepScaled,
    LazyTicket,
    LazyTicketScaled,
    Noise,
    Sharpener,
    SignFlip,
    Stale,
)
from pleasers import JudgeFitter, PublicFitter, Scaler, TinyFitter, WildScaler


def list_attacks() -> dict[str, type[Attack]]:
    """All attacks by name, in the order in which they stand here."""
    found: list[type[Attack]] = [
        Honest, HeadStart, Stale, PayloadCopier, MeanCopier, HistoryCopier, OlderHistoryCopier, OldestHistoryCopier,
        DriftCopier, HistorySigner, TicketCopier,
        ScaledTicketCopier, TicketSigner, TicketAdam, Sharpener, Noise, SignFlip, LazyTicket, LazyTicketScaled,
        LazyStep, LazyStepScaled, Scaler, WildScaler, JudgeFitter, PublicFitter, TinyFitter, Split, Sybils, Whale,
        NonRevealer, SelectiveRevealer, Chooser, Garbage, WrongSize, Poisoner, Backdoor,
    ]  # fmt: skip
    return {attack.name: attack for attack in found}
