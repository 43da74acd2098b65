"""A node's stand-in: starts a real training process, lets it mine, prints its pid, and waits to be killed.

`python -m tests.node.worker.parent FOLDER`
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from tests.node.worker.real import RealWorker


def main() -> None:
    worker = RealWorker(Path(sys.argv[1]))
    worker.client.start()
    worker.mine(worker.make_heartbeat(1), threshold=0)
    print(worker.client.pid, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
