"""`chain`: show, tx, export, verify."""

import tempfile
from pathlib import Path

import click

from node.amounts import format_amount
from node.cli.options import connect, node_option, reading
from node.cli.output import (
    count_of,
    format_age,
    format_loss,
    print_facts,
    print_json,
    print_next,
    print_table,
    shorten,
    warn,
)
from node.cli.verify import print_verdict, run_verifier, show_progress
from node.cli.waiting import waiting
from node.exits import Exit, UserError
from node.rpc.client import Json, NodeClient, quote_part
from node.rpc.errors import ApiError

MAX_LIMIT = 200
HASH_CHARACTERS = 64
EXPORT_TIMEOUT_S = 120.0
AMOUNTS = ("fee", "amount", "escrow")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def chain() -> None:
    """Look at blocks; export and verify the chain."""


@chain.command()
@click.argument("block", required=False)
@click.option(
    "--limit", type=click.IntRange(1, MAX_LIMIT), default=20, show_default=True, help="Newest blocks to list."
)
@reading
def show(block: str | None, limit: int, node: str | None, as_json: bool) -> None:
    """The newest blocks; or one BLOCK by height or hash; or a transaction by its id."""
    client = connect(node)
    if block is not None:
        kind, found = find(client, block)
        print_json(found) if as_json else print_found(kind, found)
        return
    height = client.get("/v1/status")["head"]["height"]
    answer = client.get("/v1/blocks", {"from": max(1, height - limit + 1), "limit": limit})
    print_json(answer) if as_json else print_blocks(answer["blocks"])


def find(client: NodeClient, wanted: str) -> tuple[str, Json]:
    """A block, else a transaction: both have 64 hex digits for a name."""
    try:
        return "block", client.get(f"/v1/blocks/{quote_part(wanted)}")
    except ApiError as error:
        if error.exit_code != Exit.NOT_FOUND or len(wanted) != HASH_CHARACTERS:
            raise
    return "transaction", client.get(f"/v1/transactions/{quote_part(wanted)}")


def print_blocks(blocks: list[Json]) -> None:
    print_table(
        ("HEIGHT", "HASH", "AGE", "TRAINED", "RUNS", "TXS", "LOSS BEFORE", "AFTER", "MINER"),
        [
            (
                block["height"],
                shorten(block["hash"]),
                format_age(block["time_ms"]),
                block["title"] or "heartbeat",
                f"{float(block['runs_estimate']):,.0f}",
                len(block["transactions"])
                if isinstance(block["transactions"], list)
                else block["transactions"],
                format_loss(block["loss_before"]),
                format_loss(block["loss_after"]),
                block["miner"],
            )
            for block in blocks
        ],
    )


def print_found(kind: str, found: Json) -> None:
    """Every field: plain values on a line each, nested ones as JSON."""
    name = found.get("hash") or found.get("txid") or ""
    click.echo(f"{click.style(kind, bold=True)} {name}")
    plain = [(key, value) for key, value in found.items() if not isinstance(value, list | dict)]
    print_facts([(key, "-" if value is None else value) for key, value in plain])
    for key, value in found.items():
        if isinstance(value, list | dict) and value:
            click.echo(f"  {key}:")
            print_json(value)


@chain.command()
@click.argument("txid")
@reading
def tx(txid: str, node: str | None, as_json: bool) -> None:
    """One transaction by its id: what it does, and whether a block holds it."""
    found = connect(node).get(f"/v1/transactions/{quote_part(txid)}")
    print_json(found) if as_json else print_transaction(found)


def print_transaction(found: Json) -> None:
    state = "waits for a block"
    if found["state"] == "confirmed":
        state = f"in block {found['height']:,}, {count_of(found['confirmations'], 'confirmation')}"
    click.echo(f"{click.style(found['kind'], bold=True)} {found['txid']}  {state}")
    print_facts(
        (key, f"{format_amount(value)}" if key in AMOUNTS else value)
        for key, value in found.items()
        if key not in ("kind", "txid", "state", "height", "confirmations")
    )


@chain.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@reading
def export(file: Path, force: bool, node: str | None, as_json: bool) -> None:
    """Write the whole chain, genesis to head, to FILE: what verify needs, and nothing else."""
    if str(file) == "-":
        raise UserError("a chain is written to a file, not to standard output", "name one", Exit.USAGE)
    if file.exists() and not force:
        raise UserError(
            f"{file} is there already", "name another file, or replace it with --force", Exit.USAGE
        )
    size_bytes = export_chain(connect(node), file)
    if as_json:
        print_json({"file": str(file), "bytes": size_bytes})
        return
    click.echo(f"{file}: {size_bytes:,} bytes")
    print_next(f"gradientcoin chain verify {file}")


def export_chain(client: NodeClient, file: Path) -> int:
    """Download the chain file; returns its bytes."""
    if not file.parent.is_dir():
        raise UserError(f"{file.parent} is no directory", "make it, or name another file", Exit.BAD_FILE)
    with waiting("fetching the chain"):
        return client.download("/v1/chain/export", file, EXPORT_TIMEOUT_S)


@chain.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--path", type=click.Choice(["fused", "portable"]), default="fused", show_default=True)
@click.option(
    "--stories",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Write the verdict on everything to this file, and why: a JSON line for every block, ticket, transaction, "
    "update, share and job.",
)
@node_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value and nothing else.")
def verify(file: Path | None, path: str, stories: Path | None, node: str | None, as_json: bool) -> int:
    """Replay a chain from genesis in a process of its own, trusting no node: every block, every training run.

    FILE is what export wrote; without it the chain is fetched from the node first. --path picks the arithmetic's
    implementation; both must give the same bits, and the same --stories.
    """
    if file is not None:
        return verify_file(file, path, stories, as_json)
    with tempfile.TemporaryDirectory(prefix="gradientcoin-") as folder:
        target = Path(folder, "chain")
        client = connect(node)
        size_bytes = export_chain(client, target)
        warn(f"fetched {size_bytes:,} bytes from {client.address.url}")
        return verify_file(target, path, stories, as_json)


def verify_file(file: Path, path: str, stories: Path | None, as_json: bool) -> int:
    check_chain_file(file)
    if stories is not None and stories.exists() and stories.samefile(file):
        raise UserError(f"{stories} is the chain's file", "name another file for --stories", Exit.USAGE)
    with show_progress("replaying") as progress:
        verdict = run_verifier(file, progress, path, stories=stories)
    if as_json:
        print_json(verdict.answer)
    else:
        print_verdict(verdict)
    return verdict.exit_code


def check_chain_file(file: Path) -> None:
    """Raise UserError for what is no chain file at first sight."""
    if not file.is_file():
        raise UserError(
            f"there is no file {file}", "write one: gradientcoin chain export FILE", Exit.BAD_FILE
        )
    with file.open("rb") as stream:
        if not stream.read(8).startswith(b"GCCHAIN"):
            raise UserError(
                f"{file} is no chain file", "write one: gradientcoin chain export FILE", Exit.BAD_FILE
            )
