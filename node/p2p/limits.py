"""Every bound of the network in one place, so that tests can shrink them and operators can read them."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """Bounds of one transport. The defaults suit a home machine with two cores."""

    # Connections. Inbound stays below the total, so that strangers cannot keep us from dialing out.
    max_connections: int = 64
    max_inbound: int = 48
    max_connections_per_peer: int = 2  # two when both sides dial at once
    max_connections_per_ip: int = 8
    max_half_open: int = 64  # accepted, but the handshake is not done: costs a socket and up to 10 s
    max_half_open_per_ip: int = 8
    is_loopback_exempt: bool = True  # test networks run many nodes on 127.0.0.1
    dial_timeout_s: float = 10.0
    handshake_timeout_s: float = 10.0
    close_timeout_s: float = 0.4  # then the socket is closed without a goodbye
    max_bans: int = 4096

    # Health. A frozen peer is noticed after an interval and a timeout.
    ping_interval_s: float = 15.0
    ping_timeout_s: float = 5.0

    # Streams and requests
    max_inbound_streams_per_peer: int = 64
    max_gossip_streams_per_peer: int = 2
    max_requests_in: int = 64
    max_requests_in_per_peer: int = 8
    max_requests_out_per_peer: int = 8  # more bulk streams would fill the connection's buffers
    handler_timeout_s: float = 30.0
    stall_timeout_s: float = 4.0  # below the 5 s after which the muxer gives up on a window
    stream_buffer_bytes: int = 4 << 20  # a peer that sends more than its window is cut off here
    connection_buffer_bytes: int = 16 << 20
    write_stall_s: float = 20.0  # a frame that cannot be sent for so long ends the connection

    # Gossip
    max_message_bytes: int = 64 << 10
    max_frame_bytes: int = 256 << 10  # several messages of one answer
    max_topic_chars: int = 128
    max_topics_per_peer: int = 16
    max_control_ids: int = 512  # message ids in one control frame
    max_validations: int = 128
    max_validations_per_peer: int = 16
    message_rate_per_s: float = 20.0  # new messages from one peer; copies of known ones are free
    message_burst: float = 100.0
    max_seen: int = 16384  # verdicts remembered; at 20 messages a second some 13 minutes


DEFAULT_LIMITS = TransportLimits()


class TokenBuckets:
    """One token bucket per key, for a bounded number of keys; the least recently used is forgotten."""

    def __init__(self, rate_per_s: float, burst: float, clock: Clock, *, max_keys: int = 4096) -> None:
        self._rate_per_s, self._burst, self._clock, self._max_keys = rate_per_s, burst, clock, max_keys
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, tokens: float = 1.0) -> bool:
        """Take tokens if they are there."""
        now = self._clock()
        level, at = self._buckets.pop(key, (self._burst, now))
        level = min(self._burst, level + (now - at) * self._rate_per_s)
        is_enough = level >= tokens
        self._buckets[key] = (level - tokens if is_enough else level, now)
        if len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
        return is_enough


class Tally:
    """Counts things in use per key and refuses beyond a total and a share; empty keys take no room."""

    def __init__(self, max_total: int, max_per_key: int) -> None:
        self._max_total, self._max_per_key = max_total, max_per_key
        self._counts: dict[str, int] = {}
        self.total = 0

    def enter(self, key: str) -> bool:
        """Count one more, or return False."""
        if self.total >= self._max_total or self._counts.get(key, 0) >= self._max_per_key:
            return False
        self.total += 1
        self._counts[key] = self._counts.get(key, 0) + 1
        return True

    def leave(self, key: str) -> None:
        """Count one less."""
        self.total -= 1
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key]
