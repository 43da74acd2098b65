"""`job result`: a job's checkpoint and its record as files."""

import base64
import binascii
import json
from pathlib import Path

import click

from node.cli.job_names import get_job, list_parent
from node.cli.options import connect, json_option, node_option
from node.cli.output import format_loss, print_facts, print_json, print_next, shorten
from node.cli.suggest import complete_jobs
from node.cli.waiting import waiting
from node.datadir import replace_text
from node.exits import Exit, UserError
from node.rpc.client import Json
from node.rpc.errors import ClientError

RESULT_TIMEOUT_S = 60.0
PROOF = "checkpoint.proof"


@click.command()
@click.argument("job_id", metavar="[JOB]", required=False, shell_complete=complete_jobs)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for the files.  [default: job-<first characters of the id>]",
)
@node_option
@json_option
def result(job_id: str | None, output: Path | None, node: str | None, as_json: bool) -> None:
    """Fetch weights and record of a job (by default the newest): checkpoint.safetensors and result.json."""
    client = connect(node)
    summary = get_job(client, job_id)
    with waiting("the node puts the checkpoint together"):
        answer = client.get(f"/v1/jobs/{summary['id']}/result", timeout_s=RESULT_TIMEOUT_S)
    directory = output or Path(f"job-{shorten(summary['id'])}")
    checkpoint, record = save_result(answer, directory)
    if as_json:
        value = {key: answer[key] for key in answer if key not in ("checkpoint_base64", "record")}
        print_json({**value, "checkpoint": str(checkpoint), "result": str(record)})
        return
    click.echo(f"{click.style(answer['title'], bold=True)}  {answer['status']}, version {answer['version']}")
    print_facts(
        [
            ("loss", format_loss(answer["loss"])),
            *list_parent(answer["parent"]),
            ("weights", answer["weights_cid"]),
            ("provenance", answer["provenance"]),
            ("checkpoint", f"{checkpoint} ({checkpoint.stat().st_size:,} bytes)"),
            ("record", record),
        ]
    )
    if not answer["version"]:
        began = "those of the job it continues" if answer["parent"] else "the random ones it began with"
        click.echo(f"  note: no settlement has moved these weights: they are {began}")
    print_next(f"gradientcoin job proof {shorten(summary['id'])} -o {directory / PROOF}")


def save_result(answer: Json, directory: Path) -> tuple[Path, Path]:
    """Write the two files; a directory that holds another job's result is left alone."""
    checkpoint, record = directory / "checkpoint.safetensors", directory / "result.json"
    check_same_job(record, answer["id"])
    try:
        data = base64.b64decode(answer["checkpoint_base64"], validate=True)
    except (binascii.Error, TypeError) as error:
        raise ClientError(f"the node's checkpoint is not base64: {error}", "restart the node") from None
    directory.mkdir(parents=True, exist_ok=True)
    temporary = checkpoint.with_suffix(".part")
    temporary.write_bytes(data)
    temporary.replace(checkpoint)
    rest = {key: value for key, value in answer.items() if key != "checkpoint_base64"}
    replace_text(record, json.dumps(rest, indent=1, ensure_ascii=False) + "\n")
    return checkpoint, record


def check_same_job(record: Path, job_id: str) -> None:
    try:
        present = json.loads(record.read_text()).get("id")
    except FileNotFoundError:
        return
    except (ValueError, AttributeError):
        present = None
    if present != job_id:
        raise UserError(
            f"{record} is not of this job (it says {present or 'nothing readable'})",
            "name another directory with -o",
            Exit.USAGE,
        )
