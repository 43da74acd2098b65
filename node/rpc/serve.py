"""Serves the API on loopback inside the node's nursery, until it is cancelled."""

from __future__ import annotations

import logging
import socket
from functools import partial
from typing import Any, Protocol

import anycorn
import trio

from node.exits import Exit, UserError
from node.rpc.server import ApiContext, make_app

STALLED_SEND_MS = 10_000  # a client that reads nothing for so long is cut off
KEEP_ALIVE_S = 5.0
GRACE_S = 1.0
MAX_HEADER_BYTES = 16 << 10
SERVE: Any = anycorn.serve  # Any: its annotations are anyio's, the nursery's are trio's


class PortTaken(Protocol):
    """What takes the port once it is bound: trio's task status."""

    def started(self, value: int) -> None: ...


async def serve_api(
    context: ApiContext,
    host: str,
    port: int,
    *,
    task_status: PortTaken = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests; `task_status` gets the bound port (0 asks for any). UserError if it is taken."""
    listener = _listen(host, port)
    bound: int = listener.getsockname()[1]
    context.api = f"http://{host}:{bound}"
    config = anycorn.Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.accesslog = None
    config.errorlog = _make_log()
    config.include_server_header = False
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.graceful_timeout = GRACE_S
    config.h11_max_incomplete_size = MAX_HEADER_BYTES
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(SERVE, make_app(context), config, mode="asgi"))
        task_status.started(bound)


def check_port(host: str, port: int) -> None:
    """Raise UserError if the API could not listen there: for telling it before anything slow has begun."""
    _listen(host, port).close()


def _listen(host: str, port: int) -> socket.socket:
    """Bind by ourselves: so the port is known, and a taken one is an error a user understands."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # the server's own sends cannot be cancelled
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_SEND_MS)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UserError(
            f"the API cannot listen on {host}:{port}: {error.strerror or error}",
            "name a free port with --api-port, or 0 for any",
            Exit.LOCKED,
        ) from error
    return listener


def _make_log() -> logging.Logger:
    log = logging.getLogger("node.rpc.http")
    log.setLevel(logging.WARNING)
    return log
