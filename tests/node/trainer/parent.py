"""A node's stand-in: lets a real trainer train without end, prints its pid, and waits to be killed.

`python -m tests.node.trainer.parent FOLDER`
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from tests.node.trainer.real import RealTrainer


async def train(folder: Path) -> None:
    trainer = RealTrainer(folder)
    async with trio.open_nursery() as nursery:
        await trainer.client.train(trainer.make_request())  # it is up
        nursery.start_soon(trainer.client.train, trainer.make_request(steps=10**9, seconds=600.0))
        print(trainer.client.pid, flush=True)


if __name__ == "__main__":
    trio.run(train, Path(sys.argv[1]))
