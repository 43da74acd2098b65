"""Mines on a database for ever and prints the hash of every block that was acknowledged; tests kill it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.ledger.chain_builder import ALICE, BOB, ChainBuilder, make_spec


def main() -> None:
    folder = Path(sys.argv[1])
    node = ChainBuilder(folder, database=str(folder / "chain.db"))
    while True:
        if node.height == 1:
            block = node.mine(node.submit(ALICE, make_spec()))
        elif node.height % 5 == 4 and node.height > 20:  # two blocks back, three forward
            rival = node.fork(node.height - 2)
            for _ in range(3):
                block = rival.mine(rival.transfer(ALICE, BOB, node.height), miner=BOB)
                node.add(block)
            assert node.chain.head.hash == block.hash
        else:
            block = node.mine(node.transfer(ALICE, BOB, 1))
        print(node.height, block.hash.hex(), flush=True)


if __name__ == "__main__":
    main()
