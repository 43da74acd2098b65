"""`verify-checkpoint`: a checkpoint against a proof of its job, in a process of its own, without node or chain."""

from __future__ import annotations

import re
from pathlib import Path

import click

from node.cli.output import count_of, format_duration, format_loss, print_facts, print_json
from node.cli.proof import MAGIC
from node.cli.verify import Verdict, run_module, show_progress
from node.exits import Exit, UserError
from node.rpc.client import Json

Pin = str | tuple[str, ...] | None

HASH = re.compile(r"[0-9a-fA-F]{64}")
WIDTH = 100  # characters of a line of text
PROOF_HINT = "write one where a node runs: gradientcoin job proof -o FILE"


def check_pin(context: click.Context, param: click.Parameter, value: Pin) -> Pin:
    """Refuse what is not a whole hash: half of one is no pin."""
    for text in [value] if isinstance(value, str) else value or ():
        if not HASH.fullmatch(text):
            raise click.BadParameter(f"expected 64 hex digits, got {text[:80]!r}")
    return value


@click.command("verify-checkpoint")
@click.argument("checkpoint", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("proof", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--chain-id", callback=check_pin, help="The chain it must be; gradientcoin status shows a node's."
)
@click.option(
    "--block",
    callback=check_pin,
    multiple=True,
    help="A block hash that must be in the proof; may be repeated.",
)
@click.option(
    "--min-work", type=click.IntRange(0), default=0, help="The least heartbeat work, in standard runs."
)
@click.option(
    "--min-cover", type=click.IntRange(0), default=0, help="The least heartbeat work from the record on."
)
@click.option("--path", type=click.Choice(["fused", "portable"]), default="fused", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value and nothing else.")
def verify_checkpoint(
    checkpoint: Path,
    proof: Path,
    chain_id: str | None,
    block: tuple[str, ...],
    min_work: int,
    min_cover: int,
    path: str,
    as_json: bool,
) -> int:
    """Check that CHECKPOINT holds the weights of a job, by PROOF alone: no node, no blocks, no data.

    PROOF is what job proof wrote. All headers are followed from genesis, every heartbeat is trained again, and the
    job's record must stand in the state of the chain. It says what was proven, and what was not.
    """
    check_files(checkpoint, proof)
    arguments = [str(checkpoint), str(proof), "--path", path]
    arguments += ["--min-work", str(min_work), "--min-cover", str(min_cover)]
    arguments += ["--chain-id", chain_id] if chain_id else []
    for pinned in block:
        arguments += ["--block", pinned]
    with show_progress("replaying heartbeats") as progress:
        verdict = run_module("node.verify_checkpoint", arguments, progress)
    if as_json:
        print_json(verdict.answer)
    else:
        print_verdict(verdict, checkpoint)
    return verdict.exit_code


def check_files(checkpoint: Path, proof: Path) -> None:
    """Raise UserError for files that are none at first sight, or in the wrong order."""
    for file, hint in ((checkpoint, "fetch one: gradientcoin job result"), (proof, PROOF_HINT)):
        if not file.is_file():
            raise UserError(f"there is no file {file}", hint, Exit.BAD_FILE)
    if not begins_as_proof(proof):
        swapped = begins_as_proof(checkpoint)
        hint = (
            f"the other way round: gradientcoin verify-checkpoint {proof} {checkpoint}"
            if swapped
            else PROOF_HINT
        )
        raise UserError(f"{proof} is no proof", hint, Exit.BAD_FILE)


def begins_as_proof(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def print_verdict(verdict: Verdict, checkpoint: Path) -> None:
    answer = verdict.answer
    if not verdict.is_verified:
        word = "DAMAGED PROOF" if verdict.exit_code == Exit.DAMAGED else "NOT VERIFIED"
        click.echo(click.style(word, fg="red", bold=True))
        click.echo(f"  {answer.get('error', 'no reason given')}")
        return
    click.echo(
        click.style("VERIFIED", fg="green", bold=True)
        + f"  {checkpoint} holds version {answer['version']} of the job {answer['title']!r} "
        f"({format_duration(verdict.seconds)})"
    )
    print_facts(list_facts(answer))
    click.echo("not proven:")
    for sentence in answer["not_proven"]:
        click.echo(click.wrap_text(sentence, WIDTH, "  - ", "    "))


def list_facts(answer: Json) -> list[tuple[str, object]]:
    cover, head = answer["cover"], answer["head"]
    return [
        (
            "chain",
            f"{answer['chain']}, {answer['chain_id']}{', as you named it' * answer['pinned']['chain_id']}",
        ),
        ("head", f"block {head['height']:,}, {head['hash']}"),
        ("dated", format_time(head["time_ms"])),
        *(("known block", f"{block['height']:,}, {block['hash']}") for block in answer["pinned"]["blocks"]),
        (
            "work",
            f"{int(answer['heartbeat_work']):,} standard runs in {count_of(answer['replayed'], 'heartbeat header')}, "
            "all replayed here",
        ),
        ("job", answer["job"]),
        ("record", f"in the state after block {answer['state_after']:,}"),
        (
            "cover",
            f"{int(cover['work']):,} of these runs, in {count_of(cover['heartbeats'], 'header')} from block "
            f"{cover['from']:,} on",
        ),
        ("status", f"{answer['status']}: {answer['reason']}"),
        ("loss", f"{format_loss(answer['loss'])} on its last settlement's sample"),
        ("began at", format_loss(answer["first_loss"])),
        ("owner", f"{answer['owner']}, submitted in block {answer['submitted']:,}"),
        *describe_parent(answer["parent"]),
        ("provenance", answer["provenance"]),
        ("weights", answer["weights_cid"]),
    ]


def describe_parent(parent: Json | None) -> list[tuple[str, object]]:
    """What a job continues; that its parent ended so was checked when its submission came into a block."""
    return [("continues", f"job {parent['id']}, from {parent['weights_cid']}")] if parent else []


def format_time(time_ms: int) -> str:
    """A header's time as people read it; one that no calendar has stays a number."""
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
