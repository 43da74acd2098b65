"""The attack zoo: plays every attack against eight honest miners in an exact market, and says what it earns.

Every attack meets the same seeds, and so the same tickets, samples and honest minibatches; a market without an attack
is played for each seed, too. Exit code 1 if an attack earns more than its bar beyond the noise of the seeds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))  # scripts are no package

from attacks import list_attacks
from figures import describe_machine
from lab import MINERS, Miners
from planted import check_planted_jobs
from summary import BROKEN, average_clean, make_table, read_row, summarise
from trial import CLEAN, Trial, run_trial

QUICK_SEEDS, QUICK_ROUNDS = 2, 6


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_options(arguments)
    if options.table:
        return show(json.loads(options.table.read_text()), options.markdown)
    names = options.attack or list(list_attacks())
    trials = list(run_all(names, range(options.seeds), options.rounds, options.miners, options.jobs))
    value = to_json(options, trials, check_planted_jobs())
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(dump(value))
    return show(value, options.markdown)


def show(value: Mapping[str, Any], markdown: bool) -> int:  # Any: JSON
    """Print a run's table; 1 if a bar is broken."""
    rows = [read_row(row) for row in value["rows"]]
    clean = (
        "no attack: loss {loss:.3f}, accuracy {accuracy:.1%}, an honest miner earns {honest_income:.2f} coins"
    )
    lines = [value["command"], "", *make_table(rows, markdown), "", clean.format(**value["clean"])]
    print("\n".join([*lines, *value["planted"]]))
    return 1 if any(row.verdict == BROKEN for row in rows) else 0


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/adversary/zoo.py", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--seeds", type=int, default=20, help="markets for each attack (20)")
    parser.add_argument("--rounds", type=int, default=16, help="rounds of each market (16)")
    parser.add_argument(
        "--attack",
        action="append",
        choices=list(list_attacks()),
        metavar="NAME",
        help="only this one; repeatable",
    )
    parser.add_argument(
        "--miners",
        choices=MINERS,
        default="adam",
        help="how honest miners train: a few steps of Adam (the default), or by the node's own default solver",
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write table and incomes there too")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print such a file's table, play nothing")
    parser.add_argument("--markdown", action="store_true", help="print the table as docs/attacks.md has it")
    parser.add_argument("--quick", action="store_true", help="two seeds, six rounds: shows that it runs")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seeds, options.rounds = QUICK_SEEDS, QUICK_ROUNDS
    return options


def run_all(
    names: Sequence[str], seeds: Sequence[int], rounds: int, miners: Miners, jobs: int
) -> Iterator[Trial]:
    """Play all attacks with all seeds, seed after seed."""
    tasks = [(name, seed) for seed in seeds for name in (CLEAN, *names)]
    if jobs == 1:
        yield from (run_trial(name, seed, rounds, miners) for name, seed in tasks)
        return
    context = multiprocessing.get_context("spawn")  # torch and numba do not survive a fork
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = [pool.submit(run_trial, name, seed, rounds, miners) for name, seed in tasks]
        for done, future in enumerate(as_completed(futures), 1):
            if sys.stderr.isatty():
                print(f"\r{done}/{len(futures)} markets", end="", file=sys.stderr, flush=True)
            yield future.result()


def to_json(
    options: argparse.Namespace, trials: Sequence[Trial], planted: Sequence[str]
) -> dict[str, Any]:  # Any: JSON
    chosen = "".join(f" --attack {shlex.quote(name)}" for name in options.attack or ())
    chosen = (" --miners newton" if options.miners == "newton" else "") + chosen
    return {
        "command": f"scripts/adversary/zoo.py --seeds {options.seeds} --rounds {options.rounds}{chosen}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": describe_machine(),
        "clean": average_clean(trials),
        "rows": [asdict(row) | {"verdict": row.verdict} for row in summarise(trials)],
        "planted": list(planted),
        "incomes": [  # coins; the attack's is of all its identities, the honest one that of a mean honest miner
            {
                "attack": t.attack,
                "seed": t.seed,
                "income": round(t.income, 4),
                "honest": round(t.honest_income, 4),
            }
            for t in sorted(trials, key=lambda t: (t.attack, t.seed))
        ],
    }


def dump(value: Mapping[str, Any]) -> str:  # Any: JSON
    """JSON with a line for each key, and for each item of a list."""
    parts = (f"{json.dumps(key)}: {dump_lines(part)}" for key, part in value.items())
    return "{\n" + ",\n".join(parts) + "\n}\n"


def dump_lines(value: object) -> str:
    if isinstance(value, list):
        return "[\n" + ",\n".join(f" {json.dumps(item)}" for item in value) + "\n]"
    return json.dumps(value)


if __name__ == "__main__":
    sys.exit(main())
