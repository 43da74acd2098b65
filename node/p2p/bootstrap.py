"""What is wrong with the addresses an operator named: a node without them quietly mines a chain of its own."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from node.protocol.peer_book import parse_peer_id

log = logging.getLogger(__name__)

PATIENCE = 2  # failures in a row: nodes of one network often start together

OTHER_CHAIN = "is on another chain"


class BootstrapWatch:
    """Tells of each address and reason once, until the address is of use again."""

    def __init__(self, addresses: Sequence[str], own_id: str) -> None:
        self._peers = {address: parse_peer_id(address) for address in addresses}
        self._own_id = own_id
        self._failures: Counter[str] = Counter()
        self._told: set[tuple[str, str]] = set()
        self.problems: dict[str, str] = {}

    def note_own(self, listening: Sequence[str]) -> None:
        """See which addresses bear our own name, and are none we listen on."""
        for address, peer_id in self._peers.items():
            if peer_id == self._own_id and address not in listening:
                self._tell(address, "is this node itself, or another with a copy of its identity.key")

    def note_failed(self, address: str, why: str) -> None:
        """A dial failed."""
        if address not in self._peers:
            return
        self._failures[address] += 1
        if self._failures[address] >= PATIENCE:
            self._tell(address, why.removeprefix(f"cannot connect to {address}: "))

    def note_useless(self, peer_id: str, why: str) -> None:
        """A peer was reached and did not answer as one of this chain does."""
        for address in self._list_addresses(peer_id):
            self._failures[address] += 1
            if self._failures[address] >= PATIENCE or OTHER_CHAIN in why:
                self._tell(address, why)

    def note_answer(self, peer_id: str) -> None:
        """A peer of this chain answered."""
        for address in self._list_addresses(peer_id):
            self._failures.pop(address, None)
            if self.problems.pop(address, None):
                log.info("bootstrap %s: it answers now", address)
            self._told = {pair for pair in self._told if pair[0] != address}

    def _list_addresses(self, peer_id: str) -> list[str]:
        return [address for address, owner in self._peers.items() if owner == peer_id]

    def _tell(self, address: str, why: str) -> None:
        if OTHER_CHAIN in self.problems.get(address, ""):  # bans and cut connections follow from it
            return
        self.problems[address] = why
        if (address, why) not in self._told:
            self._told.add((address, why))
            log.warning("bootstrap %s: %s", address, why)
