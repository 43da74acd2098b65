"""HTTP client of a node's local API (docs/api.md), for the command line, the testnet harness and scripts.

Must not know how a node works; standard library only. Every error says where the address came from and what
to do.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from node.datadir import NODE_FILE, TOKEN_FILE
from node.lock import find_holder
from node.rpc.errors import ApiError, BadAnswer, ClientError, NoAnswer, NodeNotRunning, TimedOut

Json = dict[str, Any]  # Any: an API answer, documented field by field in docs/api.md

DEFAULT_TIMEOUT_S = 15.0
MAX_ANSWER_BYTES = 64 << 20  # a result's checkpoint in base64 is the largest JSON answer
CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where a node's API is and how we know; `source` ends the sentence "address from ..."."""

    host: str
    port: int
    token: str
    source: str
    start_hint: str

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


def read_address(data_dir: Path, chosen_by: str, start_hint: str = "") -> NodeAddress:
    """Read node.json and api.token of a data directory; raises NodeNotRunning when they are not there."""
    hint = start_hint or f"start it: gradientcoin run --data-dir {data_dir}"
    path = data_dir / NODE_FILE
    try:
        parts = urlsplit(str(read_node_file(data_dir)["api"]))
        host, port = parts.hostname, parts.port
        token = (data_dir / TOKEN_FILE).read_text().strip()
    except FileNotFoundError as error:
        raise _explain_missing(data_dir, chosen_by, Path(error.filename).name, hint) from None
    except PermissionError as error:
        raise NodeNotRunning(
            f"{error.filename} cannot be read: permission denied ({chosen_by})",
            "run the command as the user that runs the node",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NodeNotRunning(f"{path} cannot be read: {error!r} ({chosen_by})", "restart the node") from None
    if host is None or port is None:
        raise NodeNotRunning(f"{path} names no address with a port ({chosen_by})", "restart the node")
    return NodeAddress(host, port, token, f"{path}, {chosen_by}", hint)


def _explain_missing(data_dir: Path, chosen_by: str, name: str, hint: str) -> NodeNotRunning:
    holder = find_holder(data_dir)
    if holder is None:
        return NodeNotRunning(f"no node runs in {data_dir} ({chosen_by}): it has no {name}", hint)
    return NodeNotRunning(
        f"a node (pid {holder}) holds {data_dir} ({chosen_by}), but there is no {name}",
        f"it may be starting: wait a moment. If {name} was removed, restart the node: kill {holder}, then start it",
    )


def read_node_file(data_dir: Path) -> Json:
    """The node.json of a running node; raises OSError or ValueError."""
    value = json.loads((data_dir / NODE_FILE).read_text())
    if not isinstance(value, dict):
        raise ValueError(f"{NODE_FILE} holds no object")
    return value


class NodeClient:
    """One node's API; a connection for each request, so it may be kept over restarts of the node's peers."""

    def __init__(self, address: NodeAddress, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.address = address
        self.timeout_s = timeout_s

    @classmethod
    def from_data_dir(cls, data_dir: Path, chosen_by: str = "its data directory") -> "NodeClient":
        return cls(read_address(data_dir, chosen_by))

    def get(
        self, path: str, query: Mapping[str, object] | None = None, timeout_s: float | None = None
    ) -> Json:
        target = path + ("?" + urlencode(query) if query else "")
        return self.request("GET", target, None, timeout_s)

    def post(self, path: str, body: Mapping[str, object], timeout_s: float | None = None) -> Json:
        return self.request("POST", path, json.dumps(body).encode(), timeout_s)

    def request(self, method: str, target: str, body: bytes | None, timeout_s: float | None) -> Json:
        with self.open(method, target, body, timeout_s) as response:
            raw = response.read(MAX_ANSWER_BYTES + 1)
        if len(raw) > MAX_ANSWER_BYTES:
            raise BadAnswer(f"{method} {target} answered more than {MAX_ANSWER_BYTES} bytes", self.address)
        return self.parse(raw, f"{method} {target}")

    def download(self, path: str, target: Path, timeout_s: float | None = None) -> int:
        """Stream an answer into a new file; returns its bytes. A part of it never stays behind."""
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with self.open("GET", path, None, timeout_s) as response, temporary.open("wb") as file:
                while chunk := response.read(CHUNK_BYTES):
                    file.write(chunk)
                if response.length:  # fewer bytes came than the header promised
                    raise BadAnswer(f"GET {path} ended {response.length} bytes early", self.address)
                size_bytes = file.tell()
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return size_bytes

    @contextmanager
    def open(
        self, method: str, target: str, body: bytes | None, timeout_s: float | None
    ) -> Iterator[HTTPResponse]:
        """Send a request, yield the answer if its status is 2xx, raise a ClientError otherwise."""
        wait_s = self.timeout_s if timeout_s is None else timeout_s
        connection = HTTPConnection(self.address.host, self.address.port, timeout=wait_s)
        headers = {"Authorization": f"Bearer {self.address.token}", "Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            if response.status >= 300:
                raise self.parse_error(response.status, response.read(MAX_ANSWER_BYTES), f"{method} {target}")
            yield response
        except TimeoutError:
            raise TimedOut(f"{method} {target} got no answer within {wait_s:g} s", self.address) from None
        except ConnectionError as error:
            raise NoAnswer(
                f"no node answers at {self.address.url} ({describe(error)})", self.address
            ) from None
        except HTTPException as error:
            raise BadAnswer(f"{method} {target} got no valid HTTP answer: {error!r}", self.address) from None
        finally:
            connection.close()

    def parse(self, raw: bytes, what: str) -> Json:
        try:
            value = json.loads(raw)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise BadAnswer(f"{what} answered no JSON object but {raw[:60]!r}", self.address)
        return value

    def parse_error(self, status: int, raw: bytes, what: str) -> ClientError:
        try:
            error = json.loads(raw)["error"]
            code, message, hint = str(error["code"]), str(error["message"]), str(error.get("hint") or "")
        except (ValueError, KeyError, TypeError):
            return BadAnswer(f"{what} answered status {status} with {raw[:60]!r}", self.address)
        return ApiError(status, code, message, hint, self.address)


def describe(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def quote_part(part: str) -> str:
    """One path segment from user input."""
    return quote(part, safe="")
