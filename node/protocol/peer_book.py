"""Which addresses a node knows and which to dial next: the decisions of the keeper, without any network.

Events go in through methods that take the time; `get_dials` and `get_wake_s` come out. Addresses from peers
are hints: they are parsed strictly, bounded in number per teller, and forgotten when nobody answers.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

Uniform = Callable[[float, float], float]  # random.uniform or a seeded twin

MAX_ADDRESS_CHARS = 256
MAX_ADDRESSES_PER_PEER = 3

_ADDRESS = re.compile(
    r"/(?P<family>ip4|ip6|dns|dns4|dns6)/(?P<host>[A-Za-z0-9.:_-]{1,128})"
    r"/tcp/(?P<port>[0-9]{1,5})/p2p/(?P<peer>[A-Za-z0-9]{8,64})"
)


@dataclass(frozen=True, slots=True)
class BookRules:
    """Bounds and times of a peer book."""

    target_outbound: int = 8  # inbound peers do not count: strangers could fill the number up
    max_addresses: int = 1024
    max_per_teller: int = 64
    max_dials: int = 4  # at once
    first_backoff_s: float = 1.0
    max_backoff_s: float = 60.0
    max_failures: int = 8  # then a learned address is forgotten; bootstrap addresses stay


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one address."""

    address: str
    peer_id: str
    teller: str  # "" for the operator, who is always believed
    failures: int = 0
    next_dial_s: float = 0.0
    has_worked: bool = False


def parse_peer_id(address: str) -> str | None:
    """Get the peer id of a well-formed TCP address, or None."""
    if len(address) > MAX_ADDRESS_CHARS:
        return None
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        return None
    if not _is_host_of_family(match["family"], match["host"]):
        return None
    return match["peer"]


def replace_unspecified(address: str, seen_host: str) -> str:
    """Put the host we see a peer under in place of 0.0.0.0 or ::, which listeners on all interfaces tell."""
    family = "ip6" if ":" in seen_host else "ip4"
    return re.sub(r"^/(ip4/0\.0\.0\.0|ip6/::)/", f"/{family}/{seen_host}/", address)


class PeerBook:
    """The addresses of one node. Mutated only through its events."""

    def __init__(self, own_id: str, uniform: Uniform, rules: BookRules | None = None) -> None:
        self._own_id, self._uniform = own_id, uniform
        self._rules = rules or BookRules()
        self._entries: dict[str, Entry] = {}
        self._connected: set[str] = set()
        self._outbound: set[str] = set()
        self._dialing: dict[str, str] = {}  # peer to address

    def add(self, address: str, *, teller: str = "", now_s: float = 0.0) -> bool:
        """Learn an address. An empty teller is the operator. Returns whether it was new and taken."""
        peer_id = parse_peer_id(address)
        if peer_id is None or peer_id == self._own_id or address in self._entries:
            return False
        if teller and not self._has_room(peer_id, teller):
            return False
        self._entries[address] = Entry(address, peer_id, teller, next_dial_s=now_s)
        return True

    def note_up(self, peer_id: str, *, is_outbound: bool) -> None:
        """A peer is connected, whoever dialed."""
        self._connected.add(peer_id)
        if is_outbound:
            self._outbound.add(peer_id)

    def note_down(self, peer_id: str, now_s: float) -> None:
        """A peer went; its addresses may be dialed after a short pause."""
        self._connected.discard(peer_id)
        self._outbound.discard(peer_id)
        for entry in list(self._entries.values()):
            if entry.peer_id == peer_id:
                pause_s = self._rules.first_backoff_s * self._uniform(0.5, 1.5)
                self._put(replace(entry, next_dial_s=max(entry.next_dial_s, now_s + pause_s)))

    def note_dialed(self, address: str) -> None:
        """A dial succeeded."""
        entry = self._end_dial(address)
        if entry is not None:
            self._put(replace(entry, failures=0, has_worked=True))

    def note_failed(self, address: str, now_s: float) -> None:
        """A dial failed: wait twice as long as the last time, give or take a half."""
        entry = self._end_dial(address)
        if entry is None:
            return
        rules, failures = self._rules, entry.failures + 1
        if failures >= rules.max_failures and entry.teller:
            del self._entries[address]
            return
        doubled_s = rules.first_backoff_s * 2 ** min(failures - 1, 16)
        wait_s = min(rules.max_backoff_s, doubled_s) * self._uniform(0.5, 1.5)
        self._put(replace(entry, failures=failures, next_dial_s=now_s + wait_s))

    def get_dials(self, now_s: float) -> list[str]:
        """Get the addresses to dial now, at most one per peer; each must be followed by a note."""
        room = min(
            self._rules.target_outbound - len(self._outbound) - len(self._dialing),
            self._rules.max_dials - len(self._dialing),
        )
        dials: list[str] = []
        for entry in self._get_candidates():
            if len(dials) >= room:
                break
            if entry.next_dial_s <= now_s and entry.peer_id not in self._dialing:
                self._dialing[entry.peer_id] = entry.address
                dials.append(entry.address)
        return dials

    def get_wake_s(self) -> float:
        """Get when the next dial is due, infinity if only an event can change anything."""
        is_full = len(self._outbound) + len(self._dialing) >= self._rules.target_outbound
        if is_full or len(self._dialing) >= self._rules.max_dials:
            return float("inf")
        due = (e.next_dial_s for e in self._get_candidates() if e.peer_id not in self._dialing)
        return min(due, default=float("inf"))

    def get_shareable(self, limit: int) -> list[str]:
        """Get addresses worth telling others: those that worked, of connected peers first."""
        worked = [e for e in self._entries.values() if e.has_worked]
        told = [e for e in self._entries.values() if not e.has_worked and e.peer_id in self._connected]
        worked.sort(key=lambda e: e.peer_id not in self._connected)
        return [entry.address for entry in (worked + told)[:limit]]

    def get_worked(self) -> list[str]:
        """Get the addresses worth keeping over a restart."""
        return sorted(entry.address for entry in self._entries.values() if entry.has_worked)

    def _get_candidates(self) -> list[Entry]:
        """Get addresses of peers not connected; those that worked and the operator's first."""
        free = [e for e in self._entries.values() if e.peer_id not in self._connected]
        return sorted(free, key=lambda e: (not e.has_worked, bool(e.teller), e.failures, e.next_dial_s))

    def _has_room(self, peer_id: str, teller: str) -> bool:
        """Make room for a learned address, at the cost of the worst learned one."""
        entries = self._entries.values()
        if sum(e.peer_id == peer_id for e in entries) >= MAX_ADDRESSES_PER_PEER:
            return False
        if sum(e.teller == teller and not e.has_worked for e in entries) >= self._rules.max_per_teller:
            return False
        if len(self._entries) < self._rules.max_addresses:
            return True
        worst = max(
            (e for e in entries if e.teller and not e.has_worked and e.failures),
            key=lambda e: e.failures,
            default=None,
        )
        if worst is None:
            return False
        del self._entries[worst.address]
        return True

    def _end_dial(self, address: str) -> Entry | None:
        peer_id = parse_peer_id(address)
        if peer_id is not None and self._dialing.get(peer_id) == address:
            del self._dialing[peer_id]
        return self._entries.get(address)  # None if it was forgotten meanwhile

    def _put(self, entry: Entry) -> None:
        self._entries[entry.address] = entry


def _is_host_of_family(family: str, host: str) -> bool:
    if family.startswith("dns"):
        return ":" not in host
    try:
        return ipaddress.ip_address(host).version == int(family[2:])
    except ValueError:
        return False
