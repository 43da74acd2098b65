"""A small server that answers the local API from a table, for tests of what talks to it."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Json = dict[str, Any]  # Any: the API's answers
Answer = Json | bytes | tuple[int, Json] | Callable[[Json], Any]  # a callable gets the request's body

TOKEN = "t" * 64
JOB = "5f3a" + "0" * 60
OTHER_JOB = "5f3b" + "1" * 60
CID = "bafkrei" + "a" * 52
ADDRESS = "rgc1" + "q" * 38

HEAD = {"hash": "ab" * 32, "height": 120, "time_ms": 1_700_000_000_000, "chain_work": "12345"}
STATUS: Json = {
    "name": "node-0",
    "chain": "local",
    "chain_id": "cd" * 32,
    "version": "0.1.0",
    "peer_id": "12D3KooWfake",
    "addresses": ["/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWfake"],
    "api": "http://127.0.0.1:1",
    "head": HEAD,
    "genesis": "cd" * 32,
    "state": "running",
    "sync": {"behind": 0, "best_peer_height": 120},
    "peers": 3,
    "mining": {
        "enabled": True,
        "runs": 400,
        "runs_per_s": 5.25,
        "blocks": 31,
        "slot": {"job": JOB, "title": "Digits"},
    },
    "updates": {
        "enabled": True,
        "trained": 4,
        "committed": 3,
        "revealed": 3,
        "paid": 2,
        "earned": "120000000",
        "doing": "waiting for the next round",
        "note": "job abab: own samples not used",
        "budget": "epsilon 1.2 of 8 (delta 1e-05) is spent in 1 update",
        "trainers": {"count": 2, "device": "auto", "state": "running", "restarts": 1},
    },
    "worker": {"alive": True, "restarts": 0, "path": "fused"},
    "mempool": {"count": 1, "bytes": 230},
    "wallet": {"address": ADDRESS, "balance": "150000000", "immature": "5000000000"},
    "jobs": {"live": 1, "total": 2},
    "uptime_s": 61.5,
    "parked": 0,
}
SUMMARY: Json = {
    "id": JOB,
    "title": "Digits",
    "objective": "attention_regression",
    "status": "live",
    "reason": "",
    "next_step": "it settles at height 126",
    "ended_by": None,
    "owner": ADDRESS,
    "submitted": 12,
    "first_round": 3,
    "round": 19,
    "version": 4,
    "settlements": 5,
    "loss": 3.5,
    "loss_units": "1",
    "first_loss": 8.0,
    "target_loss": 3.2,
    "escrow": "95000000000",
    "lock": "5000000000",
    "burn": "100000000",
    "price": "0",
    "budget": "0",
    "drawn": 50,
    "lost": 3,
    "tickets": 60,
    "pending_tickets": 7,
    "updates": 9,
    "paid": "310000000",
    "pending_updates": 2,
    "weights_cid": CID,
    "work": 16777216,
    "lifetime_ends": 2012,
    "samples": {"train": 1000, "judge": 500},
    "market_only": False,
    "parent": None,
    "evaluation": None,
}
DONE = {
    **SUMMARY,
    "status": "done",
    "reason": "the target was reached",
    "ended_by": "target",
    "next_step": "",
    "loss": 3.1,
    "version": 6,
}
ACCOUNTS = [
    {"name": "node", "address": ADDRESS, "balance": "150000000", "immature": "0", "nonce": 1},
    {"name": "local-0", "address": "rgc1zzz", "balance": "10000000000000", "immature": "0", "nonce": 0},
]
BLOCKS = [
    {
        "height": height,
        "hash": f"{height:064x}",
        "time_ms": 1_700_000_000_000 + height * 1000,
        "miner": ADDRESS,
        "job": JOB,
        "title": "Digits",
        "runs_estimate": 20,
        "transactions": 0,
        "target": "ff",
        "loss_before": 3.5,
        "loss_after": 3.4,
    }
    for height in range(91, 121)
]
POINTS = [
    {
        "height": 24 + 6 * i,
        "round": 4 + i,
        "version": i + 1,
        "loss_before": 8.0 - i,
        "loss_after": 7.0 - i,
        "loss": 7.0 - i,
        "scale": 1,
        "tickets": 5,
        "updates": 2,
        "known_scale": "1/8",
        "update_scale": "1/2",
        "paid": "5000000",
        "weights_cid": CID,
        "block": "00" * 32,
    }
    for i in range(4)
]


def make_routes() -> dict[str, Answer]:
    return {
        "GET /v1/status": STATUS,
        "GET /v1/wallet": {"accounts": ACCOUNTS},
        "GET /v1/jobs": {"jobs": [SUMMARY]},
        f"GET /v1/jobs/{JOB}": SUMMARY,
        "GET /v1/jobs/5f3a": SUMMARY,
        f"GET /v1/jobs/{JOB}/history": {"points": POINTS},
        "GET /v1/blocks": {"blocks": BLOCKS},
        "GET /v1/peers": {"peers": []},
    }


@dataclass
class FakeApi:
    """The routes, which a test may change, and the requests that came."""

    routes: dict[str, Answer]
    requests: list[tuple[str, Json]] = field(default_factory=list)
    data_dir: Path = Path()
    url: str = ""


def error(status: int, code: str, message: str, hint: str = "") -> tuple[int, Json]:
    return status, {"error": {"code": code, "message": message, "hint": hint}}


@contextmanager
def serve(data_dir: Path) -> Iterator[FakeApi]:
    """Serve the usual routes and write the data directory of a running node."""
    api = FakeApi(make_routes())
    server = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(api))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    api.url = f"http://127.0.0.1:{server.server_port}"
    api.data_dir = data_dir
    write_node_files(data_dir, api.url)
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()


def write_node_files(data_dir: Path, url: str, token: str = TOKEN) -> None:
    data_dir.mkdir(parents=True, exist_ok=True)
    node = {
        "pid": os.getpid(),
        "name": "node-0",
        "api": url,
        "addresses": STATUS["addresses"],
        "started_ms": 0,
    }
    (data_dir / "node.json").write_text(json.dumps(node))
    (data_dir / "api.token").write_text(token + "\n")


def make_handler(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer("GET", {})

        def do_POST(self) -> None:
            self.answer("POST", json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def answer(self, method: str, body: Json) -> None:
            name = f"{method} {self.path.partition('?')[0]}"
            api.requests.append((f"{method} {self.path}", body))
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                answer: Any = error(401, "unauthorized", "the token is wrong")
            else:
                answer = api.routes.get(
                    name, error(404, "not_found", f"there is no {self.path}", "look at the list")
                )
            self.reply(answer(body) if callable(answer) else answer)

        def reply(self, answer: Any) -> None:
            status, value = answer if isinstance(answer, tuple) else (200, answer)
            raw = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
