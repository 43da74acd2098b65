"""Shares: training runs that give an update its weight. Source: docs/protocol.md, section 7.1.

A share is a header that need not win. Everything about it is checked on the state after its own parent, as a block's.
"""

from __future__ import annotations

from ledger.blocks import Header, decode_header
from ledger.difficulty import next_target
from ledger.errors import DecodeError, FalseShare, InvalidHeader, InvalidTransaction
from ledger.rules import Ancestor, Rules
from ledger.state import Overlay
from ledger.tickets import check_ticket_claim, replay_ticket


def spend_share(state: Overlay, data: bytes, sender: bytes, height: int, rules: Rules) -> None:
    """Spend a share of the sender (public key) in a block at `height`; InvalidTransaction if it is none or was used."""
    header = _read_share(data)
    parent = _find_parent(header, height, rules)
    _check_claim(header, sender, parent, rules)
    own = header.work.height
    if header.seed in state.get_spent(own):
        raise InvalidTransaction(f"share {header.seed.hex()}: it was used before")
    try:
        replay_ticket(parent.state, header, rules)
    except InvalidHeader as error:
        raise FalseShare(f"share {header.seed.hex()}: {error}") from error
    state.spend_share(own, header.seed)


def _read_share(data: bytes) -> Header:
    try:
        return decode_header(data)
    except DecodeError as error:
        raise InvalidTransaction(f"share: {error}") from error


def _find_parent(header: Header, height: int, rules: Rules) -> Ancestor:
    own, age = header.work.height, rules.params.share_age
    if not height - age <= own <= height:
        raise InvalidTransaction(
            f"share: its height is {own}, in block {height} expected {height - age}..{height}"
        )
    parent = rules.find_ancestor(header.work.parent)
    if parent is None or parent.height != own - 1:
        raise InvalidTransaction(
            f"share: no block {header.work.parent.hex()} at height {own - 1} of this chain"
        )
    return parent


def _check_claim(header: Header, sender: bytes, parent: Ancestor, rules: Rules) -> None:
    """Check what needs no training run."""
    work, params = header.work, rules.params
    if work.miner != sender:
        raise InvalidTransaction(f"share: mined by {work.miner.hex()}, expected the sender {sender.hex()}")
    if work.time_ms <= parent.time_ms:
        raise InvalidTransaction(f"share: time expected later than {parent.time_ms}, got {work.time_ms}")
    target = next_target(params, parent.height, parent.time_ms, parent.anchor_time_ms)
    if work.target != target:
        raise InvalidTransaction(f"share: target expected {target:x}, got {work.target:x}")
    try:
        check_ticket_claim(parent.state, header, rules, params.share_factor)
    except InvalidHeader as error:
        raise InvalidTransaction(f"share: {error}") from error
