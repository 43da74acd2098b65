"""What every request passes before a handler sees it: host, token, room, the body's size, and a time limit.

A web page of another origin that has its name resolve to this machine still sends its own name as Host: so the host is
checked beside the token. Source: docs/api.md.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping

import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.rpc.problems import ApiProblem

MAX_BODY_BYTES = 16 << 20
DRAINED_BYTES = 64 << 20  # read and dropped, so that who sends too much still gets the answer
DRAINED_S = 5.0
MAX_REQUESTS = 64  # at a time
REQUEST_TIMEOUT_S = 30.0
TRAINING_TIMEOUT_S = 150.0  # requests that wait for the training process
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
COMMON_HEADERS = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)

Headers = Mapping[bytes, bytes]


class Guard:
    """ASGI middleware around the API's handlers."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
        except ApiProblem as problem:
            await _drain(receive)
            await send_problem(send, problem)
            return
        self._running += 1
        try:
            await self._run(scope, receive, send)
        finally:
            self._running -= 1

    def _check(self, scope: Scope) -> None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not is_loopback(hosts[0]):
            got = b", ".join(hosts).decode("latin-1")[:100] or "none"
            raise ApiProblem("forbidden_host", f"Host: expected 127.0.0.1 or localhost, got {got}")
        given = dict(scope["headers"]).get(b"authorization", b"")
        if not hmac.compare_digest(given, self._expected):
            what = "a wrong token" if given else "no token"
            raise ApiProblem(
                "unauthorized",
                f"Authorization: expected `Bearer` and the node's token, got {what}",
                "the token is in api.token of the node's data directory",
            )
        if self._running >= MAX_REQUESTS:
            raise ApiProblem("busy", f"{MAX_REQUESTS} requests are being answered already", "try again")

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on with its whole body; an answer that has begun has no time limit."""
        timeout_s = get_timeout_s(scope)
        started = False
        with trio.move_on_after(timeout_s) as limit:

            async def send_on(message: Message) -> None:
                nonlocal started
                started = True
                limit.deadline = float("inf")
                await send(message)

            try:
                body = await read_body(receive, dict(scope["headers"]))
            except ApiProblem as problem:
                await _drain(receive)
                await send_problem(send_on, problem)
                return
            await self._app(scope, replay_body(body, receive), send_on)
        if limit.cancelled_caught and not started:
            message = f"{scope['method']} {scope['path'][:200]} took longer than {timeout_s:g} s"
            await send_problem(send, ApiProblem("timeout", message, "the node is busy: try again"))


async def _live(receive: Receive, send: Send) -> None:
    """Take part in the server's start and end. Starlette would turn a cancellation here into an error."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def is_loopback(host: bytes) -> bool:
    """Return whether a Host header names this machine's loopback, with or without a port."""
    text = host.decode("latin-1").strip().lower()
    name, colon, port = text.rpartition(":")
    if colon and not text.endswith("]"):
        return name in LOOPBACK_HOSTS and port.isdigit()
    return text in LOOPBACK_HOSTS


def get_timeout_s(scope: Scope) -> float:
    path: str = scope["path"]
    trains = (scope["method"] == "POST" and path.startswith("/v1/jobs")) or path.endswith("/result")
    return TRAINING_TIMEOUT_S if trains else REQUEST_TIMEOUT_S


async def read_body(receive: Receive, headers: Headers) -> bytes:
    """Return the whole body; ApiProblem if it is too large or its sender goes away."""
    length = headers.get(b"content-length", b"")
    if length.isdigit() and (len(length) > 18 or int(length) > MAX_BODY_BYTES):
        raise _too_large(f"{length[:20].decode()} bytes")
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiProblem("bad_request", "the request ended before its body did")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise _too_large("more")
        if not message.get("more_body", False):
            return b"".join(parts)


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body at once, then what the connection gives."""
    waiting = [body]

    async def receive_again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return receive_again


async def send_problem(send: Send, problem: ApiProblem) -> None:
    """Answer with an error. The connection ends: part of the request may be unread."""
    body = json.dumps(problem.to_json()).encode()
    headers = [*COMMON_HEADERS, (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    if problem.code == "unauthorized":
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _too_large(got: str) -> ApiProblem:
    return ApiProblem(
        "too_large",
        f"request body: at most {MAX_BODY_BYTES} bytes, got {got}",
        "a job's data file may have about 12 MB; give fewer samples",
    )


async def _drain(receive: Receive) -> None:
    size = 0
    with trio.move_on_after(DRAINED_S):
        while size <= DRAINED_BYTES:
            message = await receive()
            size += len(message.get("body", b""))
            if not message.get("more_body", False):
                return
