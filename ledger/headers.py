"""What a header and the block it builds on say about it, without state, body or clock.

Source: docs/protocol.md, sections 3, 7 and 8.
"""

from __future__ import annotations

from ledger.blocks import Header
from ledger.difficulty import next_target, threshold
from ledger.errors import InvalidHeader
from ledger.index import Entry
from ledger.params import ChainParams


def check_follows(header: Header, parent: Entry, params: ChainParams) -> None:
    """Raise InvalidHeader unless height, time, target and ticket can be those of a child of `parent`.

    That the header names this parent is for the caller to see.
    """
    work = header.work
    if work.height != parent.height + 1:
        raise InvalidHeader(f"height: expected {parent.height + 1}, got {work.height}")
    if work.time_ms <= parent.time_ms:
        raise InvalidHeader(f"time: expected later than {parent.time_ms}, got {work.time_ms}")
    target = next_target(params, parent.height, parent.time_ms, parent.anchor_time_ms)
    if work.target != target:
        raise InvalidHeader(f"target: expected {target:x}, got {work.target:x}")
    most = threshold(target, params.work_max << params.work_unit_bits, False, params)
    if header.ticket >= most or header.after >= header.before:
        raise InvalidHeader("ticket: not under any threshold of this target")
