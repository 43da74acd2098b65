"""What the API answers when it cannot do what was asked: a code, its HTTP status, what was wrong and what to do.

Source: docs/api.md (errors).
"""

from __future__ import annotations

import logging

from ledger.errors import DiskFailed, InvalidTransaction, LedgerError
from ledger.mempool import MempoolFull
from ledger.work import WorkRefused
from node.exits import UserError
from node.p2p.transport import TransportError
from node.worker.client import JobFileRefused, WorkerFailed

log = logging.getLogger(__name__)

STATUS_OF_CODE = {
    "unauthorized": 401,
    "forbidden_host": 403,
    "not_found": 404,
    "ambiguous": 409,
    "bad_request": 400,
    "too_large": 413,
    "bad_file": 422,
    "refused": 422,
    "not_enough_balance": 422,
    "starting": 503,
    "stopping": 503,
    "busy": 503,
    "damaged": 500,
    "disk": 507,
    "timeout": 504,
    "internal": 500,
}


class ApiProblem(Exception):
    """An answer that is an error; `status` differs from the code's own only where HTTP has a better one."""

    def __init__(self, code: str, message: str, hint: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint
        self.status = status or STATUS_OF_CODE[code]

    def to_json(self) -> dict[str, dict[str, str]]:
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}


def problem_of(error: Exception) -> ApiProblem:
    """Return the answer for what a handler raised; what nobody expected is logged with its traceback."""
    match error:
        case ApiProblem():
            return error
        case JobFileRefused():
            return ApiProblem("bad_file", str(error), error.hint)
        case WorkRefused() | InvalidTransaction():
            return ApiProblem("refused", str(error))
        case MempoolFull():
            return ApiProblem("busy", str(error), "try again after some blocks")
        case WorkerFailed():
            log.warning("the training process failed a request: %s", error)
            return ApiProblem("busy", str(error), "the training process may be restarting: try again")
        case UserError():
            return ApiProblem("bad_request", error.message, error.hint)
        case TransportError():
            return ApiProblem("refused", str(error), "check the address and that its node runs")
        case DiskFailed():
            return ApiProblem("disk", str(error), "the node stops: make room on its disk and start it again")
        case LedgerError():
            log.error("the ledger could not answer", exc_info=error)
            return ApiProblem("damaged", str(error), "stop the node and look at its log")
    log.error("a request failed", exc_info=error)
    return ApiProblem("internal", "the node could not answer; its log says why", "look at logs/node.log")
