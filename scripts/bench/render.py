"""Put the figures of docs/benchmarks/*.json into docs/benchmarks.md: a table between each pair of marks."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from typing import Any

from figures import ROOT, make_table

PAGE = ROOT / "docs" / "benchmarks.md"
FIGURES = ROOT / "docs" / "benchmarks"
MARKS = r"(<!-- figures: {name} -->\n).*?(<!-- end of figures -->)"


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench/render.py", description=__doc__)
    parser.parse_args()
    text = PAGE.read_text()
    for path in sorted(FIGURES.glob("*.json")):
        text = put_in(text, json.loads(path.read_text()))
    PAGE.write_text(text)
    print(f"{PAGE.relative_to(ROOT)} has the figures of {FIGURES.relative_to(ROOT)}")


def put_in(text: str, value: Mapping[str, Any]) -> str:  # Any: JSON
    """Return the page with the table of one benchmark."""
    marks = re.compile(MARKS.format(name=value["benchmark"]), re.DOTALL)
    if len(marks.findall(text)) != 1:
        raise ValueError(f"{PAGE.name}: expected the marks of {value['benchmark']} once")
    body = "\n".join([describe(value), "", *make_table(value["figures"], markdown=True), ""])
    return marks.sub(lambda found: f"{found[1]}{body}{found[2]}", text)


def describe(value: Mapping[str, Any]) -> str:  # Any: JSON
    """Say when, how and on what the figures were taken."""
    machine = value["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"`{value['command']}`, seed `{value['seed']}`, {value['date']}: {machine['cpu']}, {machine['cores']} cores,"
        f" {machine['memory_gib']:g} GiB, Linux {machine['kernel']}, {versions}; load before {machine['load_before']}."
    )


if __name__ == "__main__":
    main()
