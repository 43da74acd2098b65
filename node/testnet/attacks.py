"""The adversaries that a local network can start beside its nodes, by name. Standard library only: the CLI reads it.

What they do is in node/testnet/adversary.py; what such updates earn against honest miners, in docs/attacks.md.
"""

from node.exits import Exit
from node.testnet.state import TestnetError

ATTACKS = {
    "copier": "commits to the best payload of the last settled round",
    "noise": "commits to random numbers, as large as an update",
    "flip": "trains, and turns the sign of its update round",
    "lazy": "trains one step only",
    "hider": "trains and commits, and never reveals",
}


def parse_attacks(text: str) -> dict[str, int]:
    """How many of each adversary `copier=1,noise=2` asks for; a name alone is one. TestnetError for anything else."""
    wanted: dict[str, int] = {}
    for part in text.split(","):
        name, _, count = part.strip().partition("=")
        if name not in ATTACKS:
            raise refuse(f"no adversary is called {name!r}")
        if name in wanted:
            raise refuse(f"{name} is asked for twice")
        if not (count or "1").isdecimal() or int(count or "1") < 1:
            raise refuse(f"{name}: how many, from 1 up, got {count!r}")
        wanted[name] = int(count or "1")
    return wanted


def refuse(why: str) -> TestnetError:
    listed = "; ".join(f"{name} {what}" for name, what in ATTACKS.items())
    return TestnetError(why, f"such as --with copier=1,noise=2; there are: {listed}", Exit.USAGE)
