"""An adversary of a local network: `python -m node.testnet.adversary NAME --data-dir DIR`, else as `python -m node`.

A whole node, that makes its updates by node/testnet/bad_makers.py. It runs on chains of the local preset only: there
coins are play money, and everybody can see what attacks earn. The daemon itself knows nothing of this.
"""

from __future__ import annotations

import sys

from node.exits import Exit, UserError
from node.settings import Settings
from node.testnet.attacks import ATTACKS, refuse

LOCAL = "local"


def main() -> None:
    from node.__main__ import run_program

    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""

    def run(settings: Settings) -> int:
        check(name, settings)
        from node.app import run_daemon
        from node.testnet.bad_makers import MAKERS

        return run_daemon(settings, MAKERS[name])

    run_program(run)


def check(name: str, settings: Settings) -> None:
    """UserError for an adversary that there is not, or on a chain where it may not be."""
    if name not in ATTACKS:
        raise refuse(f"no adversary is called {name!r}")
    if settings.chain != LOCAL:
        raise UserError(
            f"adversaries run on chains of the local preset only, not on {settings.chain}",
            f"gradientcoin testnet up --with {name}=1",
            Exit.USAGE,
        )


if __name__ == "__main__":
    main()
