"""Who is connected, who is banned, and who wants to hear of it."""

import logging

from node.p2p.limits import Clock
from node.p2p.transport import PeerCallback, PeerChange, PeerInfo

log = logging.getLogger(__name__)


class Roster:
    """The peers of one transport. Bans live in memory and end by the clock."""

    def __init__(self, clock: Clock, max_bans: int) -> None:
        self._clock, self._max_bans = clock, max_bans
        self._peers: dict[str, PeerInfo] = {}
        self._bans: dict[str, float] = {}
        self._callbacks: list[PeerCallback] = []

    def peers(self) -> list[PeerInfo]:
        """Get the connected peers, oldest first."""
        return list(self._peers.values())

    def get_peer(self, peer_id: str) -> PeerInfo | None:
        """Get a connected peer."""
        return self._peers.get(peer_id)

    def on_peer(self, callback: PeerCallback) -> None:
        """Add a listener."""
        self._callbacks.append(callback)

    def mark_up(self, peer: PeerInfo) -> None:
        """Note a peer's first connection; further ones change nothing."""
        if peer.peer_id not in self._peers:
            self._peers[peer.peer_id] = peer
            self._tell(PeerChange(peer, True))

    def mark_down(self, peer_id: str) -> None:
        """Note the end of a peer's last connection."""
        peer = self._peers.pop(peer_id, None)
        if peer is not None:
            self._tell(PeerChange(peer, False))

    def ban(self, peer_id: str, why: str, seconds: float) -> None:
        """Refuse a peer for so long. A ban is never shortened by a later one."""
        log.info("peer %s banned for %.0f s: %s", peer_id, seconds, why)
        until = max(self._clock() + seconds, self._bans.get(peer_id, 0.0))
        if len(self._bans) >= self._max_bans and peer_id not in self._bans:
            del self._bans[min(self._bans, key=lambda other: self._bans[other])]
        self._bans[peer_id] = until

    def is_banned(self, peer_id: str) -> bool:
        """Get whether a ban stands; an expired one is forgotten."""
        until = self._bans.get(peer_id)
        if until is None:
            return False
        if until > self._clock():
            return True
        del self._bans[peer_id]
        return False

    def _tell(self, change: PeerChange) -> None:
        for callback in self._callbacks:
            try:
                callback(change)
            except Exception:  # border: called from inside libp2p, which must not see our faults
                log.exception("peer callback failed")
