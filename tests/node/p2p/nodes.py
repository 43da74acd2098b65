"""Small networks of either transport, and waiting with a bound."""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import trio

from node.p2p.host import Libp2pConfig
from node.p2p.libp2p_transport import open_libp2p_transport
from node.p2p.limits import DEFAULT_LIMITS, TransportLimits
from node.p2p.memory import open_memory_network
from node.p2p.transport import PeerChange, Transport, Validator, Verdict

KINDS = ["libp2p", "memory"]
TOPIC = "test/1"
ECHO = "/gradientcoin/test/echo/1"


def make_seed(number: int) -> bytes:
    """Make the key seed of a test node."""
    return number.to_bytes(32, "big")


@asynccontextmanager
async def open_nodes(
    kind: str, count: int, limits: TransportLimits = DEFAULT_LIMITS
) -> AsyncIterator[list[Transport]]:
    """Run so many unconnected nodes."""
    async with AsyncExitStack() as stack:
        nodes: list[Transport] = []
        if kind == "memory":
            network = await stack.enter_async_context(open_memory_network())
            for number in range(1, count + 1):
                opened = network.open_transport(make_seed(number), limits)
                nodes.append(await stack.enter_async_context(opened))
        else:
            for number in range(1, count + 1):
                config = Libp2pConfig(seed=make_seed(number), limits=limits)
                nodes.append(await stack.enter_async_context(open_libp2p_transport(config)))
        yield nodes


async def join(*nodes: Transport) -> None:
    """Connect each node to the next one."""
    for node, following in pairwise(nodes):
        await node.connect(following.addresses()[0])
        await until(lambda a=node, b=following: any(p.peer_id == a.peer_id for p in b.peers()))  # type: ignore[misc]


async def until(condition: Callable[[], object], seconds: float = 8.0) -> None:
    """Wait until something that has no event becomes true, or fail."""
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.01)


class Judge:
    """A validator that notes what it saw and says what it was told to."""

    def __init__(self, verdict: Verdict = Verdict.ACCEPT) -> None:
        self.verdict = verdict
        self.seen: list[tuple[str, bytes]] = []
        self._send, self._receive = trio.open_memory_channel[tuple[str, bytes]](math.inf)

    async def __call__(self, peer_id: str, data: bytes) -> Verdict:
        self.seen.append((peer_id, data))
        self._send.send_nowait((peer_id, data))
        return self.verdict

    async def get_next(self) -> tuple[str, bytes]:
        """Wait for the next message."""
        with trio.fail_after(8):
            return await self._receive.receive()


class Watch:
    """Collects a node's peer changes."""

    def __init__(self, node: Transport) -> None:
        self._send, self._receive = trio.open_memory_channel[PeerChange](math.inf)
        node.on_peer(self._send.send_nowait)

    async def get_next(self) -> PeerChange:
        """Wait for the next change."""
        with trio.fail_after(8):
            return await self._receive.receive()


async def accept(peer_id: str, data: bytes) -> Verdict:
    """Accept everything."""
    return Verdict.ACCEPT


async def subscribe_all(nodes: list[Transport], *validators: Validator) -> None:
    """Subscribe each node with its validator."""
    for node, validator in zip(nodes, validators, strict=True):
        await node.subscribe(TOPIC, validator)
