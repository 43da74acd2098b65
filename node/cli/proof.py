"""`job proof`: what convinces somebody without a node that a checkpoint is the job's, as a file.

Source: docs/protocol.md, section 14.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import click

from node.cli.job_names import get_job
from node.cli.options import connect, reading
from node.cli.output import count_of, print_facts, print_json, print_next, shorten
from node.cli.progress import shorten_cid
from node.cli.result import PROOF
from node.cli.suggest import complete_jobs
from node.cli.waiting import waiting
from node.exits import Exit, UserError
from node.rpc.client import Json, NodeClient
from node.rpc.errors import ApiError, ClientError

MAGIC = b"GCPROOF"
PROOF_TIMEOUT_S = 120.0  # for the first byte
WAIT_S = 60.0  # for a heartbeat that covers the job's version
POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a proof's own bytes say."""

    version: int
    weights: str
    place: int
    headers: int
    size_bytes: int


@click.command()
@click.argument("job_id", metavar="[JOB]", required=False, shell_complete=complete_jobs)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"The file.  [default: {PROOF} in the directory that job result writes to]",
)
@click.option(
    "--version",
    type=click.IntRange(0),
    help="Of this version of the weights, as soon as it arose; by default of the newest.",
)
@reading
def proof(
    job_id: str | None, output: Path | None, version: int | None, node: str | None, as_json: bool
) -> None:
    """Write what shows somebody without a node that a checkpoint is this job's (by default the newest job's).

    The file holds the headers of all blocks and a path from one of them to the job's record. A record needs a heartbeat
    block after it; where that is missing yet, it is waited for.
    """
    client = connect(node)
    summary = get_job(client, job_id)
    file = output or Path(f"job-{shorten(summary['id'])}", PROOF)
    check_target(file)
    if output is None:
        file.parent.mkdir(exist_ok=True)
    query = f"version={version}" if version is not None else f"least_version={summary['version']}"
    fetched = fetch_proof(client, f"/v1/jobs/{summary['id']}/proof?{query}", file)
    if as_json:
        print_json(show_json(summary, file, fetched))
        return
    click.echo(f"{click.style(summary['title'], bold=True)}  version {fetched.version}")
    print_facts(
        [
            ("weights", shorten_cid(fetched.weights)),
            ("record", f"in the state after block {fetched.place - 1:,}"),
            ("proof", f"{file} ({fetched.size_bytes:,} bytes, {count_of(fetched.headers, 'header')})"),
        ]
    )
    print_next(f"gradientcoin verify-checkpoint {file.parent / 'checkpoint.safetensors'} {file}")


def show_json(summary: Json, file: Path, fetched: Fetched) -> Json:
    return {
        "id": summary["id"],
        "version": fetched.version,
        "weights_cid": fetched.weights,
        "state_after": fetched.place - 1,
        "headers": fetched.headers,
        "proof": str(file),
        "bytes": fetched.size_bytes,
    }


def check_target(file: Path) -> None:
    """Raise UserError where something else than a proof would be replaced."""
    if not file.exists():
        return
    with file.open("rb") as stream:
        if not stream.read(len(MAGIC)).startswith(MAGIC):
            raise UserError(f"{file} is there already, and is no proof", "name another file", Exit.USAGE)


def fetch_proof(client: NodeClient, target: str, file: Path) -> Fetched:
    """Download a proof once there is one; UserError after WAIT_S."""
    deadline_s = time.monotonic() + WAIT_S
    with waiting("waiting for a block that covers the job's record"):
        while True:
            try:
                client.download(target, file, PROOF_TIMEOUT_S)
                return read_proof(file)
            except ApiError as error:
                if error.code != "busy" or time.monotonic() >= deadline_s:
                    raise
            time.sleep(POLL_S)


def read_proof(file: Path) -> Fetched:
    from ledger.errors import DecodeError  # late: other verbs of `job` do not wait for it
    from ledger.hashing import cid_text
    from ledger.lightproof import read_start

    try:
        with file.open("rb") as stream:
            found = read_start(stream.read)
            record = found.read_record()
            size_bytes = stream.seek(0, 2)
    except DecodeError as error:
        raise ClientError(f"the node sent no proof: {error}", "restart the node") from None
    return Fetched(record.version, cid_text(record.weights), found.place, found.count, size_bytes)
