"""What only the simulated network does: latency, loss, partitions, and the same again for the same seed."""

import pytest
import trio
import trio.testing

from node.p2p.memory import MemoryNetwork, MemoryTransport, Weather, open_memory_network
from node.p2p.transport import RequestTimeout, Verdict
from tests.node.p2p.nodes import ECHO, TOPIC, Judge, accept, join, make_seed


async def echo(peer_id: str, payload: bytes) -> bytes:
    return payload


async def test_messages_take_their_latency(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_memory_network() as network,
        network.open_transport(make_seed(1)) as a,
        network.open_transport(make_seed(2)) as b,
    ):
        network.weather.latency_s = 0.5
        judge = Judge()
        b.serve(ECHO, echo, max_request=9)
        await b.subscribe(TOPIC, judge)
        await join(a, b)
        start_s = trio.current_time()
        await a.publish(TOPIC, b"x")
        await judge.get_next()
        assert trio.current_time() - start_s == pytest.approx(0.5)
        await a.request(b.peer_id, ECHO, b"x", max_reply=9, timeout_s=5)
        assert trio.current_time() - start_s == pytest.approx(1.5)


async def test_partition_swallows_and_heals(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_memory_network() as network,
        network.open_transport(make_seed(1)) as a,
        network.open_transport(make_seed(2)) as b,
    ):
        judge = Judge()
        b.serve(ECHO, echo, max_request=9)
        await b.subscribe(TOPIC, judge)
        await join(a, b)
        network.partition([a.peer_id], [b.peer_id])
        await a.publish(TOPIC, b"lost")
        with pytest.raises(RequestTimeout):
            await a.request(b.peer_id, ECHO, b"x", max_reply=9, timeout_s=5)
        network.partition()
        await a.publish(TOPIC, b"found")
        assert (await judge.get_next())[1] == b"found"


async def record_run(seed: int) -> list[tuple[float, int, bytes]]:
    """Flood a ring of six nodes over lossy links and note who hears what when."""
    heard: list[tuple[float, int, bytes]] = []
    start_s = trio.current_time()

    async def enter(network: MemoryNetwork, nodes: list[MemoryTransport], number: int) -> None:
        if number == 6:
            for node, following in zip(nodes, nodes[1:] + nodes[:1], strict=True):
                await node.connect(following.addresses()[0])
            for step in range(20):
                await nodes[step % 6].publish(TOPIC, b"%d" % step)
                await trio.sleep(0.05)
            await trio.sleep(5)
            return
        async with network.open_transport(make_seed(number + 1)) as node:

            async def note(peer_id: str, data: bytes) -> Verdict:
                heard.append((round(trio.current_time() - start_s, 6), number, data))
                return await accept(peer_id, data)

            await node.subscribe(TOPIC, note)
            await enter(network, [*nodes, node], number + 1)

    async with open_memory_network(seed) as network:
        network.weather = Weather(latency_s=0.02, jitter_s=0.1, drop_share=0.2)
        await enter(network, [], 0)
    return heard


async def test_run_repeats_for_its_seed_and_differs_for_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    first, again, other = [await record_run(seed) for seed in (1, 1, 2)]
    assert first == again
    assert first != other
    assert len(first) > 50
