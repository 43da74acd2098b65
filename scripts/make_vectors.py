"""Write the consensus vectors in tests/vectors again: `python scripts/make_vectors.py [exact] [ledger]`.

A changed vector is a changed protocol: docs/protocol.md changes in the same commit.
"""

import importlib
import sys
from pathlib import Path

SECTIONS = {"exact": "tests.vectors.build_exact", "ledger": "tests.vectors.build_ledger"}


def main(names: list[str]) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    for name in names or SECTIONS:
        if name not in SECTIONS:
            sys.exit(f"unknown section {name!r}; expected one of: {', '.join(SECTIONS)}")
        importlib.import_module(SECTIONS[name]).write()
        print(f"{name}: written")


if __name__ == "__main__":
    main(sys.argv[1:])
