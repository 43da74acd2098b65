"""A libp2p host with everything off that we do not use: TCP, noise and yamux are left."""

from collections.abc import Callable
from dataclasses import dataclass, field

from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.host.basic_host import BasicHost
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.swarm import Swarm
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from multiaddr import Multiaddr

from node.p2p.hardening import BoundedMuxer, GuardedNoise, NoAutoConnector, guard_streams
from node.p2p.limits import DEFAULT_LIMITS, TransportLimits
from node.p2p.listener import Door, GuardedTCP

SEED_BYTES = 32
NEVER_REPLACE_MS = 1e9  # the health monitor may close a dead connection, not swap a slow one


@dataclass(frozen=True, slots=True)
class Libp2pConfig:
    """What a transport is made from. The seed is the node's identity: 32 bytes of an Ed25519 key."""

    seed: bytes = field(repr=False)
    listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",)
    announce: tuple[str, ...] = ()  # addresses to tell others instead of the ones listened on
    limits: TransportLimits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_BYTES:
            raise ValueError(f"the key seed has {len(self.seed)} bytes, not {SEED_BYTES}")


def make_host(config: Libp2pConfig, door: Door, is_refused: Callable[[str], bool]) -> BasicHost:
    """Make a host that does not run yet."""
    limits = config.limits
    key_pair = create_new_key_pair(config.seed)
    host = new_host(
        key_pair=key_pair,
        sec_opt={NOISE: GuardedNoise(key_pair, is_refused)},  # stock also takes plaintext
        muxer_preference="YAMUX",
        connection_config=_make_connection_config(limits),
        transports=[GuardedTCP(door)],
        announce_addrs=[Multiaddr(address) for address in config.announce] or None,
        disable_identify_address_discovery=True,  # peers do not decide what we announce
        negotiate_timeout=int(limits.handshake_timeout_s) or 1,
    )
    assert isinstance(host, BasicHost)  # what new_host makes without a router
    swarm = swarm_of(host)
    swarm.set_resource_manager(None)  # the door and the tallies count; its rate limit is shared by all
    swarm.retry_config = RetryConfig(max_retries=0)  # the keeper retries
    swarm._inbound_limiter.total_tokens = float("inf")  # the door counts
    swarm.auto_connector = NoAutoConnector(swarm)  # the keeper dials
    swarm.upgrader.muxer_multistream = BoundedMuxer(limits)
    guard_streams(host, swarm, limits)
    return host


def swarm_of(host: BasicHost) -> Swarm:
    """Get the host's network as what it is."""
    network = host.get_network()
    assert isinstance(network, Swarm)  # the only network of this version
    return network


def _make_connection_config(limits: TransportLimits) -> ConnectionConfig:
    return ConnectionConfig(
        max_connections=limits.max_connections,
        min_connections=0,
        low_watermark=0,
        high_watermark=limits.max_connections,
        max_connections_per_peer=limits.max_connections_per_peer,
        dial_timeout=limits.dial_timeout_s,
        inbound_upgrade_timeout=limits.handshake_timeout_s,
        outbound_upgrade_timeout=limits.handshake_timeout_s,
        enable_health_monitoring=True,
        health_initial_delay=limits.ping_interval_s,
        health_warmup_window=min(1.0, limits.ping_interval_s),
        health_check_interval=limits.ping_interval_s,
        ping_timeout=limits.ping_timeout_s,
        abort_connection_on_ping_failure=True,
        max_ping_latency=NEVER_REPLACE_MS,
        min_health_threshold=0.0,
        min_ping_success_rate=0.0,
        critical_health_threshold=0.0,
        max_failed_streams=1 << 30,
    )
