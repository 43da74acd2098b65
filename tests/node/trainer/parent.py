"""A node's stand-in: lets real trainers train without end, prints their pids, and waits to be killed.

`python -m tests.node.trainer.parent FOLDER TRAINERS`
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from tests.node.trainer.real import RealTrainer


async def train(folder: Path, trainers: int) -> None:
    trainer = RealTrainer(folder, trainers)
    async with trio.open_nursery() as nursery:
        await trainer.client.train(trainer.make_request())  # it is up
        nursery.start_soon(trainer.client.train, trainer.make_request(steps=10**9, seconds=600.0))
        print(*trainer.client.pids, flush=True)


if __name__ == "__main__":
    trio.run(train, Path(sys.argv[1]), int(sys.argv[2]))
