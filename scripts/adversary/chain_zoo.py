"""Attacks on the chain itself, played on real chains in one process: real headers, shares, blocks, pool, exact work.

Every attack meets the same seeds as an honest miner in its place. Exit code 1 if an attack gets more than its bar
beyond the noise of the seeds, or a degenerate job pays its owner.
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

from chain_summary import make_chain_table, read_chain_row, summarise_chains
from chain_trial import CASES, Case, ChainTrial, play_chain
from figures import describe_machine
from forgery import measure_forgeries
from limits import list_limits
from shortcuts import BAR, Shortcut, describe_costs, list_break_even, measure_costs, measure_shortcuts
from summary import BROKEN, HELD
from zoo import dump

from ledger.params import LOCAL, MAINNET

QUICK_SEEDS, QUICK_ROUNDS = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_options(arguments)
    if options.table:
        return show(json.loads(options.table.read_text()), options.markdown)
    if options.again:
        value = json.loads(options.again.read_text())
        value |= judge([ChainTrial(**chain) for chain in value["chains"]]) | measure_rest()
        options.again.write_text(dump(value))
        return show(value, options.markdown)
    cases = [case for case in CASES if not options.attack or case.name in options.attack]
    trials = list(play_all(cases, range(options.seeds), options.rounds, options.jobs))
    value = to_json(options, trials)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(dump(value))
    return show(value, options.markdown)


def show(value: Mapping[str, Any], markdown: bool) -> int:  # Any: JSON
    """Print a run's table; 1 if a bar is broken."""
    rows = [read_chain_row(row) for row in value["rows"]]
    lines = [value["command"], "", *make_chain_table(rows, markdown)]
    for title in ("shortcuts", "forgeries", "limits"):
        if value[title]:
            bullet = "- " if markdown else "  "
            lines += ["", f"{title}:", *([""] if markdown else []), *(bullet + line for line in value[title])]
    print("\n".join(lines))
    broken = any(row.verdict == BROKEN for row in rows) or any(BROKEN in line for line in value["shortcuts"])
    return 1 if broken else 0


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/adversary/chain_zoo.py", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--seeds", type=int, default=4, help="chains for each attack (4)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are judged on each (5)")
    parser.add_argument(
        "--attack", action="append", choices=[case.name for case in CASES], metavar="NAME",
        help="only this one, named as in the table; repeatable",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print such a file's table, play nothing")
    parser.add_argument(
        "--again",
        type=Path,
        metavar="FILE",
        help="judge the chains of such a file again, and measure anew what is no chain's",
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as docs/attacks.md has it")
    parser.add_argument("--quick", action="store_true", help="one seed, two rounds: shows that it runs")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seeds, options.rounds = QUICK_SEEDS, QUICK_ROUNDS
    return options


def play_all(cases: Sequence[Case], seeds: Sequence[int], rounds: int, jobs: int) -> Iterator[ChainTrial]:
    """Play all attacks and their controls with all seeds."""
    controls = dict.fromkeys(case.control for case in cases)
    tasks = [(case, seed) for seed in seeds for case in (*controls, *cases)]
    if jobs == 1:
        yield from (play_chain(case, seed, rounds) for case, seed in tasks)
        return
    context = multiprocessing.get_context("spawn")  # torch and numba do not survive a fork
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = [pool.submit(play_chain, case, seed, rounds) for case, seed in tasks]
        for done, future in enumerate(as_completed(futures), 1):
            if sys.stderr.isatty():
                print(f"\r{done}/{len(futures)} chains", end="", file=sys.stderr, flush=True)
            yield future.result()


def to_json(options: argparse.Namespace, trials: Sequence[ChainTrial]) -> dict[str, Any]:  # Any: JSON
    chosen = "".join(f" --attack {shlex.quote(name)}" for name in options.attack or ())
    alone = not options.attack  # what is no chain's is measured with the whole table
    return {
        "command": f"scripts/adversary/chain_zoo.py --seeds {options.seeds} --rounds {options.rounds}{chosen}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": describe_machine(),
        **judge(trials),
        **(measure_rest() if alone else {"shortcuts": [], "forgeries": [], "limits": []}),
        "chains": [asdict(trial) for trial in sorted(trials, key=lambda t: (t.case, t.seed))],
    }


def judge(trials: Sequence[ChainTrial]) -> dict[str, Any]:  # Any: JSON
    return {"rows": [asdict(row) | {"verdict": row.verdict} for row in summarise_chains(trials)]}


def measure_rest() -> dict[str, list[str]]:
    """What is no chain's."""
    return {
        "shortcuts": [
            *(describe_shortcut(found) for found in measure_shortcuts()), describe_costs(measure_costs())
        ],
        "forgeries": measure_forgeries(),
        "limits": list_limits(),
    }  # fmt: skip


def describe_shortcut(found: Shortcut) -> str:
    """A line with its verdict: no faster than the bar, and no net gain by blocks of the own job on mainnet."""
    held = found.speed_up <= BAR and found.net(MAINNET) < 0
    even = list_break_even()[MAINNET.name]
    return (
        f"{found.name} ({found.work:.2f} units of work): {found.engine_ms:.2f} ms, owner {found.owner_ms:.2f} ms:"
        f" {found.speed_up:.1f} times as fast at most; bar {BAR}, break-even on mainnet {even:.2f};"
        f" nets {found.net(LOCAL):+.2f} coinbases a drawn height locally, {found.net(MAINNET):+.2f} on mainnet:"
        f" {HELD if held else BROKEN}"
    )


if __name__ == "__main__":
    sys.exit(main())
