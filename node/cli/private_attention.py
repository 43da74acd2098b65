"""`private-attention`: an attention matrix released so that no single record shows in it, drawn on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import click

from node.cli.child import read_lines
from node.cli.options import json_option
from node.cli.output import count_of, print_facts, print_json, warn
from node.exits import Exit, UserError
from node.rpc.client import Json
from node.threads import VARIABLES

MODULE = "training.private.command"
NOT_PRIVATE = (
    "warning: --compare tells the true error, which is not private: keep it, and do not choose by it"
)
NAMES = {"sampling": "Gaussian sampling", "gaussian": "Gaussian noise"}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--epsilon", type=float, required=True, help="What may be learnt of one record, at most e^epsilon."
)
@click.option(
    "--delta", type=float, required=True, help="How likely it is that more is learnt, such as 1e-5."
)
@click.option(
    "--alpha", type=float, required=True, help="Length to which longer records are clipped; public."
)
@click.option("--eta", type=float, required=True, help="Ridge that sampling adds to the diagonal; public.")
@click.option(
    "--mechanism",
    type=click.Choice(["auto", "sampling", "gaussian"]),
    default="auto",
    show_default=True,
    help="How it is made private; auto: where the largest expected error is lower.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("private.npz"),
    show_default=True,
    help="Where the release goes; may be published.",
)
@click.option("--project", is_flag=True, help="Make the released matrix positive semidefinite.")
@click.option("--compare", is_flag=True, help="Tell the true error too, which is not private.")
@click.option(
    "--budget-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where is kept what was spent on each data set.",
)
@click.option("--total-epsilon", type=float, help="Of all releases of this data; needs --budget-dir.")
@click.option("--total-delta", type=float, help="Likewise.")
@json_option
def private_attention(
    file: Path,
    epsilon: float,
    delta: float,
    alpha: float,
    eta: float,
    mechanism: str,
    output: Path,
    project: bool,
    compare: bool,
    budget_dir: Path | None,
    total_epsilon: float | None,
    total_delta: float | None,
    as_json: bool,
) -> None:
    """Release softmax(Y Y^T) of the matrix Y in FILE, records in its columns, under differential privacy.

    Two data sets that differ in one record are told apart by at most epsilon and delta. Nothing is sent.
    """
    arguments = [str(file)]
    values = {"epsilon": epsilon, "delta": delta, "alpha": alpha, "eta": eta, "mechanism": mechanism}
    values |= {"output": output, "budget-dir": budget_dir}
    values |= {"total-epsilon": total_epsilon, "total-delta": total_delta}
    arguments += [f"--{name}={value}" for name, value in values.items() if value is not None]
    arguments += [f"--{name}" for name, given in (("project", project), ("compare", compare)) if given]
    answer = run(arguments)
    if compare:
        warn(NOT_PRIVATE)
    if as_json:
        print_json(answer)
    else:
        print_answer(answer)


def run(arguments: list[str]) -> Json:
    """The answer of the process that draws; raises UserError for what it refuses, and if it ends without one."""
    answer: Json = {}
    one_thread = dict.fromkeys(VARIABLES, "1")
    status, complaint = read_lines(MODULE, arguments, answer.update, one_thread | os.environ)
    if "error" in answer:
        raise UserError(answer["error"], HINTS.get(answer["exit_code"], ""), answer["exit_code"])
    if status != Exit.DONE or not answer:
        raise UserError(
            f"the release ended with exit code {status} and no answer: {complaint}",
            "a budget that was given may be spent all the same; see its directory",
            Exit.FAILED,
        )
    return answer


HINTS = {
    Exit.USAGE: "gradientcoin private-attention --help",
    Exit.BAD_FILE: "an npz file with Y [n, d], a record in each column: docs/objectives.md, Private attention",
    Exit.FAILED: "the budget is what --budget-dir keeps; else check permissions and free disk space",
}


def print_answer(answer: Json) -> None:
    click.echo(
        f"{click.style(answer['file'], bold=True)}  Z and its attention, {answer['n']} x {answer['n']}"
    )
    print_facts(list_facts(answer))


def list_facts(answer: Json) -> list[tuple[str, str]]:
    facts = [
        ("records", f"{answer['d']:,}, clipped to length {answer['alpha']:g}"),
        ("mechanism", f"{NAMES[answer['mechanism']]}, {describe_noise(answer)}; {answer['reason']}"),
        ("samples", describe_samples(answer)),
        ("spent", f"epsilon {answer['epsilon']:g}, delta {answer['delta_spent']:.4g} of {answer['delta']:g}"),
        ("error", f"{answer['expected_error']:.3g} per entry of the attention expected; {answer['claim']}"),
    ]
    if answer["projected"]:
        facts.append(("projected", "Z has no negative eigenvalue beyond rounding"))
    if true := answer.get("true_error"):
        both = f"{true['attention_rms']:.3g} per entry, at most {true['attention_max']:.3g}"
        facts.append(("true error", f"{both}: NOT private"))
    if budget := answer["budget"]:
        facts.append(("budget", describe_budget(budget)))
    return facts


def describe_noise(answer: Json) -> str:
    if answer["mechanism"] == "sampling":
        return f"{count_of(answer['samples'], 'sample')} over a ridge of {answer['eta']:g}"
    return f"deviation {answer['sigma']:.4g} on the diagonal, {answer['sigma'] / 2**0.5:.4g} beside it"


def describe_samples(answer: Json) -> str:
    paper = f"the paper's condition {answer['samples_by_paper']:,}"
    if not answer["samples"]:
        return f"sampling could draw none; {paper}"
    deltas = f"delta {answer['delta_inverted']:.6g} and {answer['delta_integrated']:.6g} by two accountants"
    return f"exact accounting allows {answer['samples']:,} ({deltas}), {paper}"


def describe_budget(budget: Json) -> str:
    epsilon = f"epsilon {budget['epsilon']:g} of {budget['total_epsilon']:g}"
    delta = f"delta {budget['delta']:.4g} of {budget['total_delta']:g}"
    return f"{epsilon}, {delta} after {count_of(budget['releases'], 'release')}"
