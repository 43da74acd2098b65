"""A job's updates as the API shows them: those committed to and not settled, and what settlements made of the others.

Source: docs/api.md; docs/protocol.md, sections 7.1 and 10.3.
"""

from __future__ import annotations

from ledger.chain import Chain
from ledger.commitments import Commitment
from ledger.hashing import cid_text
from ledger.history import SettlementRecord
from ledger.market import reveal_window
from ledger.privacy import ONE_DELTA, ONE_EPSILON, PrivacyRecord
from ledger.settlement import UpdateResult
from ledger.slots import round_at
from ledger.state import Overlay
from node.rpc.views import Json, show_address

PENDING_ROUNDS = 2  # a round settles one after the next


def show_updates(chain: Chain, job_id: bytes, limit: int) -> list[Json]:
    """Return the last updates of a job: those that wait first, then by settlement, newest first, as credited."""
    waiting = [
        row for number in _pending_rounds(chain, job_id) for row in _show_waiting(chain, job_id, number)
    ]
    settled = [
        row for record in reversed(chain.list_settlements(job_id)) for row in show_results(chain, record)
    ]
    return (waiting + settled)[:limit]


def _pending_rounds(chain: Chain, job_id: bytes) -> list[int]:
    now = round_at(job_id, chain.head.height, chain.params)
    return [number for number in range(now, now - PENDING_ROUNDS, -1) if number >= 0]


def _show_waiting(chain: Chain, job_id: bytes, number: int) -> list[Json]:
    window = reveal_window(job_id, number, chain.params)
    return [
        _show_update(chain, number, commitment)
        | {
            "state": "revealed" if commitment.payload else "committed",
            "height": None,
            "settles_at": window.stop - 1,
            "credit": None,
            "amount": None,
        }
        for commitment in Overlay(chain.state).get_commitments(job_id, number)
    ]


def show_results(chain: Chain, record: SettlementRecord) -> list[Json]:
    """Return what a settlement made of its updates."""
    event = record.settlement
    return [
        _show_update(chain, event.round, result.update)
        | {
            "state": str(result.outcome),
            "height": record.height,
            "settles_at": record.height,
            "credit": get_credit(result, event.credit_base),
            "amount": str(result.amount),
        }
        for result in event.updates
    ]


def get_credit(result: UpdateResult, base: int) -> float:
    """Return which part of the loss before the updates one of them took away."""
    return result.credit / base if base else 0.0


def _show_update(chain: Chain, number: int, update: Commitment) -> Json:
    return {
        "round": number,
        "commitment": update.commitment.hex(),
        "miner": show_address(chain, update.miner),
        "shares": update.shares,
        "bond": str(update.bond),
        "payload_bytes": update.size,
        "payload_cid": cid_text(update.payload) if update.payload else None,
        "privacy": show_privacy(update.privacy) if update.privacy else None,
    }


def show_privacy(record: PrivacyRecord) -> Json:
    """Return what an update's miner says of its privacy; `spent_epsilon` is at the total's delta."""
    from training.private.cost import find_epsilon  # numpy: not for nodes that never see such an update

    return {
        "data_id": record.data_id.hex(),
        "epsilon": record.epsilon / ONE_EPSILON,
        "delta": record.delta / ONE_DELTA,
        "clip": record.clip * 2.0**-24,
        "noise": record.noise * 2.0**-24,
        "steps": record.steps,
        "cost": record.cost * 2.0**-40,
        "spent": record.spent * 2.0**-40,
        "spent_epsilon": find_epsilon(record.spent, record.delta),
    }
