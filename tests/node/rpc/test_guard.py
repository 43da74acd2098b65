"""What no request gets past: token, host, size, time; and that the server outlives whatever is sent to it."""

import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from node.rpc import guard, serve, server
from node.rpc.context import ChainAccess
from node.rpc.guard import is_loopback
from node.rpc.serve import serve_api
from tests.node.rpc.api_node import TOKEN, ApiNode, open_api

JUNK = [
    b"",
    b"\r\n\r\n",
    b"\x00" * 4096,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 500,
    b"GET /v1/status HTTP/9.9\r\n\r\n",
    b"GET /v1/status\r\n",
    b"GET " + b"/a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 200,
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"GET /%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" + b"\xff" * 100,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n" + b"\x00" * 50,
]


@pytest.mark.parametrize(
    ("host", "good"),
    [
        (b"127.0.0.1", True),
        (b"127.0.0.1:8000", True),
        (b"LOCALHOST:1", True),
        (b"[::1]:80", True),
        (b"[::1]", True),
        (b"localhost.evil.example:80", False),
        (b"127.0.0.1.evil.example", False),
        (b"evil.example#localhost", False),
        (b"localhost:80:80", False),
        (b"0.0.0.0", False),
        (b"localhost:x", False),
        (b"", False),
        (b"\xff", False),
    ],
)
def test_host_is_loopback_only(host: bytes, good: bool) -> None:
    assert is_loopback(host) is good


async def test_request_without_the_token_is_401(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        for token in ("", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, "Basic " + TOKEN):
            answer = await node.get("/v1/status", Authorization=token)
            assert (answer.status, answer.code) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
            assert TOKEN not in answer.raw.decode()
        assert (await node.get("/v1/nothing", Authorization="")).status == 401
        assert (await node.post("/v1/stop", {}, Authorization="")).status == 401
        assert not node.stops


async def test_request_with_another_host_is_403_even_with_the_token(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        for host in ("evil.example", f"evil.example:{node.port}", "127.0.0.1.evil.example"):
            answer = await node.get("/v1/status", Host=host)
            assert (answer.status, answer.code) == (403, "forbidden_host")
        assert (await node.get("/v1/status", Host=f"localhost:{node.port}")).status == 200


async def test_no_origin_is_let_in(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        answer = await node.get("/v1/status", Origin="http://evil.example")
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_oversized_body_is_413(tmp_path: Path) -> None:
    body = b"a" * (guard.MAX_BODY_BYTES + 1)
    async with open_api(tmp_path) as node:
        answer = await node.ask("POST", "/v1/jobs", body, {})
        assert (answer.status, answer.code) == (413, "too_large")
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[: 1 << 23], body[1 << 23 :]))
        answer = await node.ask("POST", "/v1/jobs", chunks + b"0\r\n\r\n", {"Transfer-Encoding": "chunked"})
        assert (answer.status, answer.code) == (413, "too_large")
        assert (await node.get("/v1/status")).status == 200


async def test_body_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        answer = await node.ask("POST", "/v1/wallet/send", b"[" + b" " * (guard.MAX_BODY_BYTES - 1), {})
        assert (answer.status, answer.code) == (400, "bad_request")


async def test_claimed_length_without_a_body_is_answered(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        head = f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        answer = await node.send_raw(f"{head}Content-Length: {10**17}\r\n\r\n".encode())
        assert b" 413 " in answer.split(b"\r\n")[0] or not answer
        assert (await node.get("/v1/status")).status == 200


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"a": ' * 5000, b"1" * 9999]
)
async def test_body_that_is_no_object_is_400(tmp_path: Path, body: bytes) -> None:
    async with open_api(tmp_path) as node:
        for path in ("/v1/jobs", "/v1/wallet/send", "/v1/peers"):
            answer = await node.ask("POST", path, body, {})
            assert (answer.status, answer.code) == (400, "bad_request")


async def test_unknown_path_and_method_are_json_errors(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        for path in (
            "/",
            "/v1",
            "/v2/status",
            "/v1/status/",
            "/v1/jobs/",
            "/etc/passwd",
            "/v1/blocks/../status",
        ):
            answer = await node.get(path)
            assert (answer.status, answer.code) == (404, "not_found")
        answer = await node.ask("DELETE", "/v1/status", None, {})
        assert (answer.status, answer.code) == (405, "bad_request")
        assert (await node.ask("OPTIONS", "/v1/status", None, {})).status == 405


async def test_junk_on_the_port_does_not_end_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "KEEP_ALIVE_S", 0.3)
    async with open_api(tmp_path) as node:
        for data in JUNK:
            await node.send_raw(data)
        async with trio.open_nursery() as nursery:
            for data in JUNK:
                nursery.start_soon(node.send_raw, data)
        answer = await node.get("/v1/status")
        assert answer.status == 200


async def test_request_that_takes_too_long_is_504(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "TRAINING_TIMEOUT_S", 0.2)
    async with open_api(tmp_path) as node:
        node.worker.stuck = True
        answer = await node.post("/v1/jobs", {"toml": "1", "data_name": "d", "data_base64": ""})
        assert (answer.status, answer.code) == (504, "timeout")
        assert (await node.get("/v1/status")).status == 200


async def test_more_requests_than_there_is_room_for_are_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "MAX_REQUESTS", 0)
    async with open_api(tmp_path) as node:
        answer = await node.get("/v1/status")
        assert (answer.status, answer.code) == (503, "busy")


async def test_error_nobody_expected_is_500_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_api(tmp_path) as node:

        def fail() -> None:
            raise RuntimeError("secret detail")

        monkeypatch.setattr(node.sync, "progress", fail)
        answer = await node.get("/v1/status")
        assert (answer.status, answer.code) == (500, "internal")
        assert "secret" not in answer.raw.decode()
        assert "Traceback" not in answer.raw.decode()


async def test_taken_port_is_an_error_for_the_user(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        with pytest.RaisesGroup(pytest.RaisesExc(Exception, match="cannot listen on")):
            async with trio.open_nursery() as nursery:
                await nursery.start(serve_api, node.context, "127.0.0.1", node.port)


async def test_server_stops_with_a_client_that_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "STALLED_SEND_MS", 500)
    pieces = 0

    async def export_much(access: ChainAccess) -> AsyncIterator[bytes]:
        nonlocal pieces
        for _ in range(100):
            yield b"a" * (1 << 20)
            pieces += 1

    monkeypatch.setattr(server, "export_chain", export_much)
    with trio.fail_after(20):
        async with open_api(tmp_path) as node:
            stalled = _ask_and_not_read(node)
            await trio.sleep(0.3)  # the server fills the sockets' buffers meanwhile
            assert pieces < 100
    stalled.close()


def _ask_and_not_read(node: ApiNode) -> socket.socket:
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream.connect(("127.0.0.1", node.port))
    request = f"GET /v1/chain/export HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    stream.sendall(request.encode())
    return stream


async def test_stop_is_answered_before_the_node_stops(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        answer = await node.post("/v1/stop", {})
        assert answer.status == 200
        assert json.loads(answer.raw) == {"stopping": True}
        with trio.fail_after(5):
            while not node.stops:
                await trio.sleep(0)
        assert (await node.get("/v1/status")).json["state"] == "stopping"
