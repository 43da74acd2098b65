"""The demo's figures: what was measured, what was promised, and the table that compares them."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from node.amounts import format_amount
from node.cli.output import count_of, format_duration, format_loss, print_facts, print_table
from node.rpc.client import Json

PROMISED_ACCURACY = 0.85


@dataclass(slots=True)
class Report:
    """What a run measured; `seconds` count from the start of the first node, but for `verify`, which is a length."""

    chain: Json = field(default_factory=dict)
    job: Json = field(default_factory=dict)
    nodes: list[Json] = field(default_factory=list)  # name, accuracy, count, weights_cid
    verify: Json = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)

    def to_json(self) -> Json:
        return asdict(self)

    @property
    def hashes(self) -> set[str]:
        return {node["weights_cid"] for node in self.nodes}


def list_failures(report: Report, left: list[int]) -> list[str]:
    """Every promise that this run did not keep."""
    worst = min((node["accuracy"] for node in report.nodes), default=0.0)
    replayed = report.verify.get("weights", {}).get(report.job["id"])
    checks = [
        (
            report.job["status"] == "done",
            f"the job is {report.job['status']}, not done: {report.job['reason']}",
        ),
        (worst >= PROMISED_ACCURACY, f"accuracy {worst:.1%}, promised {PROMISED_ACCURACY:.0%}"),
        (len(report.hashes) == 1, f"{len(report.hashes)} different weights on {len(report.nodes)} nodes"),
        (report.verify["ok"], f"the replay failed: {report.verify.get('error')}"),
        (report.hashes == {replayed}, f"the replay ends with other weights: {replayed}"),
        (not left, f"processes are left: {left}"),
    ]
    return [failure for kept, failure in checks if not kept]


def print_report(report: Report, directory: Path, failures: list[str]) -> None:
    verdict = (
        click.style("equal on all", fg="green")
        if len(report.hashes) == 1
        else click.style("DIFFER", fg="red")
    )
    click.echo()
    print_table(
        ("NODE", "ACCURACY", "HELD-OUT", "WEIGHTS"),
        [
            (node["name"], f"{node['accuracy']:.2%}", node["count"], node["weights_cid"])
            for node in report.nodes
        ],
    )
    click.echo(f"weights {verdict} {len(report.nodes)} nodes\n")
    print_facts(list_facts(report, directory), indent="")
    click.echo()
    for failure in failures:
        click.echo(click.style("FAILED  ", fg="red", bold=True) + failure)
    if not failures:
        click.echo(
            click.style("OK", fg="green", bold=True) + "  everything this demo promises was measured just now"
        )


def list_facts(report: Report, directory: Path) -> list[tuple[str, object]]:
    job, verify, seconds = report.job, report.verify, report.seconds
    loss = f"{format_loss(job['first_loss'])} at the first settlement -> {format_loss(job['loss'])}"
    replay = (
        f"about {verify.get('runs', 0):,} done by the miners, {verify.get('replayed', 0):,} winners replayed"
    )
    again = (
        "every block and settlement agrees, and so do the weights"
        if verify["ok"]
        else f"FAILED: {verify.get('error')}"
    )
    return [
        ("seed", repr(report.chain["seed"])),
        ("genesis", report.chain["genesis"]),
        ("data CID", job["data_cid"]),
        ("job spec", job["spec_sha256"]),
        ("job", f"{job['id']}, {job['status']}"),
        ("loss", f"{loss}, target {format_loss(job['target_loss'])}"),
        (
            "blocks",
            f"{verify.get('blocks', 0):,}, {job['tickets']} of them for the job, in {job['version']} versions",
        ),
        (
            "updates",
            f"{job['updates']} were paid {format_amount(job['paid'])} for what they took of the loss",
        ),
        ("training runs", replay),
        (
            "replay",
            f"{again}, {format_duration(seconds['verify'])}, {count_of(verify.get('settlements', 0), 'settlement')}",
        ),
        (
            "time",
            f"{seconds['up']:.0f} s until all were up, {seconds['target']:.0f} s to the target, "
            f"{seconds['total']:.0f} s in all",
        ),
        ("saved", f"{directory}/result, demo.json, chain.gcc"),
    ]
