"""Recompute the exact vectors in this process, whatever its environment makes of torch and numba:
`python -m tests.training.recompute SETUP...`, each SETUP one of SETUPS or a path. Prints every difference."""

import json
import sys

import torch

from tests.vectors.build_exact import FOLDER, PATHS, build, build_heartbeats
from training.exact.selftest import check_machine

SETUPS = {
    "threads-1": lambda: torch.set_num_threads(1),
    "threads-2": lambda: torch.set_num_threads(2),
    "threads-4": lambda: torch.set_num_threads(4),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "flush": lambda: torch.set_flush_denormal(True),
}


def main(words: list[str]) -> None:
    for word in words:
        if word in SETUPS:
            SETUPS[word]()
    for path in PATHS:
        if path in words:
            check_machine(path)
            compare(build(path))
        if f"{path}-heartbeat" in words:
            compare({"exact_tickets": {"heartbeat": build_heartbeats(path)}})


def compare(built: dict[str, dict[str, object]]) -> None:
    for name, content in built.items():
        expected = json.loads((FOLDER / f"{name}.json").read_text())
        for section, values in content.items():
            if json.loads(json.dumps(values)) != expected[section]:
                print(f"{name}.{section} differs")


if __name__ == "__main__":
    main(sys.argv[1:])
    print("done")
