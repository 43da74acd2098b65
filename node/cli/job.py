"""`job`: submit, list, show, watch, result."""

import base64
import binascii
import json
import tomllib
from pathlib import Path

import click

from node.cli.options import connect, json_option, node_option, reading
from node.cli.output import (
    format_coins,
    format_loss,
    print_facts,
    print_json,
    print_next,
    print_table,
    shorten,
)
from node.cli.watch import watch_job
from node.datadir import replace_text
from node.exits import Exit, UserError
from node.rpc.client import Json, NodeClient, quote_part
from node.rpc.errors import ClientError

SUBMIT_TIMEOUT_S = 120.0  # the node prepares the data and makes a trial run
RESULT_TIMEOUT_S = 60.0
MAX_JOB_FILE_BYTES = 1 << 16
MAX_DATA_BYTES = 32 << 20


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def job() -> None:
    """Submit training jobs, watch them, fetch results."""


@job.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--from", "sender", metavar="ACCOUNT", help="Who pays: a name or address of wallet list.")
@click.option("--wait", is_flag=True, help="Watch the job until it ends.")
@reading
def submit(file: Path, sender: str | None, wait: bool, node: str | None, as_json: bool) -> int:
    """Submit the job that FILE (TOML) describes, with the data it names."""
    body = make_submission(file, sender)
    client = connect(node)
    answer = client.post("/v1/jobs", body, timeout_s=SUBMIT_TIMEOUT_S)
    if as_json:
        print_json(answer)
    else:
        print_submitted(answer)
    if wait:
        return watch_job(client, answer["id"], as_json)
    if not as_json:
        print_next(f"gradientcoin job watch {shorten(answer['id'])}")
    return Exit.DONE


def make_submission(file: Path, sender: str | None) -> Json:
    """The request that submits a job file with its data; raises UserError for files that cannot be read."""
    toml, data_name = read_job_file(file)
    data = read_data(file.parent / data_name, file)
    submission = {
        "file_name": file.name,
        "toml": toml,
        "data_name": data_name,
        "data_base64": base64.b64encode(data).decode(),
    }
    return submission | ({"from": sender} if sender else {})


def read_job_file(file: Path) -> tuple[str, str]:
    """The file's text and where it says its data is; what else it says is the node's to judge."""
    try:
        if file.stat().st_size > MAX_JOB_FILE_BYTES:
            raise bad_file(
                file, f"has {file.stat().st_size:,} bytes, at most {MAX_JOB_FILE_BYTES:,} are allowed"
            )
        text = file.read_text(encoding="utf-8")
        data = tomllib.loads(text).get("data")
    except OSError as error:
        raise bad_file(file, f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise bad_file(file, f"is not valid TOML: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("file"), str):
        raise bad_file(file, 'names no data: expected a section [data] with file = "..."')
    return text, data["file"]


def read_data(path: Path, job_file: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_DATA_BYTES:
            raise bad_file(
                path, f"has {path.stat().st_size:,} bytes, at most {MAX_DATA_BYTES:,} can be submitted"
            )
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise bad_file(path, f"cannot be read: {reason}; {job_file} names it in [data] file") from None


def bad_file(path: Path, what: str) -> UserError:
    return UserError(f"{path} {what}", "examples/digits.toml is a job file that works", Exit.BAD_FILE)


def print_submitted(answer: Json) -> None:
    rounding = answer["quantisation"]
    trial = answer["trial"]
    click.echo(f"submitted {click.style(answer['title'], bold=True)}  {answer['objective']}")
    print_facts(
        [
            ("job", answer["id"]),
            (
                "data",
                f"{answer['data_bytes']:,} bytes; {answer['train']:,} to train, {answer['judge']:,} to judge",
            ),
            ("data CID", answer["data_cid"]),
            ("spec", answer["spec_sha256"]),
            (
                "cost",
                f"{format_coins(answer['escrow'])} coins in escrow, fee {format_coins(answer['fee'])}, "
                f"paid by {answer['from']}",
            ),
            ("burn", f"{format_coins(answer['burn'])} coins for each block drawn for it"),
            ("rounding", f"at most {rounding['max_error']:.2g}, {rounding['clipped']:,} values clipped"),
            ("trial", f"loss {format_loss(trial['before'])} -> {format_loss(trial['after'])} in one run"),
        ]
    )
    for note in answer["notes"]:
        click.echo(f"  note: {note}")


@job.command("list")
@reading
def list_jobs(node: str | None, as_json: bool) -> None:
    """All jobs of the chain."""
    answer = connect(node).get("/v1/jobs")
    if as_json:
        print_json(answer)
    elif not answer["jobs"]:
        click.echo("no jobs on this chain yet")
        print_next("gradientcoin job submit examples/digits.toml")
    else:
        print_table(
            ("JOB", "TITLE", "STATUS", "VERSION", "LOSS", "TARGET", "BLOCKS"),
            [
                (
                    shorten(item["id"]),
                    item["title"],
                    item["status"],
                    item["version"],
                    format_loss(item["loss"]),
                    format_loss(item["target_loss"] or None),
                    item["tickets"],
                )
                for item in answer["jobs"]
            ],
        )


@job.command()
@click.argument("job_id", metavar="[JOB]", required=False)
@reading
def show(job_id: str | None, node: str | None, as_json: bool) -> None:
    """Everything about one job; JOB is an id or its first characters, by default the newest job."""
    answer = get_job(connect(node), job_id)
    if as_json:
        print_json(answer)
        return
    click.echo(f"{click.style(answer['title'], bold=True)}  {answer['status']}: {answer['reason'] or '-'}")
    print_facts(list_job_facts(answer))
    if answer["next_step"]:
        click.echo(f"  {answer['next_step']}")


def list_job_facts(answer: Json) -> list[tuple[str, object]]:
    samples = answer["samples"]
    target = format_loss(answer["target_loss"] or None)
    return [
        ("job", answer["id"]),
        (
            "objective",
            f"{answer['objective']}, {samples['train']:,} samples to train, {samples['judge']:,} to judge",
        ),
        ("owner", answer["owner"]),
        (
            "loss",
            f"{format_loss(answer['loss'])}, began at {format_loss(answer['first_loss'])}, target {target}",
        ),
        (
            "version",
            f"{answer['version']} after {answer['settlements']} settlements; round {answer['round']}",
        ),
        ("blocks", f"{answer['tickets']} won, {answer['pending_tickets']} wait for their settlement"),
        ("drawn", f"{answer['drawn']} of the last heights, {answer['lost']} lost to the heartbeat"),
        ("money", f"escrow {format_coins(answer['escrow'])}, locked {format_coins(answer['lock'])} coins"),
        ("burn", f"{format_coins(answer['burn'])} coins for each height drawn"),
        ("price", answer["price_note"] or format_coins(answer["price"])),
        ("weights", answer["weights_cid"] or "-"),
        ("submitted", f"height {answer['submitted']}, ends by height {answer['lifetime_ends']}"),
    ]


@job.command()
@click.argument("job_id", metavar="[JOB]", required=False)
@reading
def watch(job_id: str | None, node: str | None, as_json: bool) -> int:
    """Follow a job (by default the newest) until it ends: loss curve, rounds, speed.

    --json prints a line for each change.
    """
    client = connect(node)
    return watch_job(client, job_id or get_job(client, None)["id"], as_json)


@job.command()
@click.argument("job_id", metavar="[JOB]", required=False)
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
            ("weights", answer["weights_cid"]),
            ("provenance", answer["provenance"]),
            ("checkpoint", f"{checkpoint} ({checkpoint.stat().st_size:,} bytes)"),
            ("record", record),
        ]
    )
    print_next("gradientcoin chain verify")


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


def get_job(client: NodeClient, job_id: str | None) -> Json:
    """The job's summary; without an id, that of the job submitted last."""
    if job_id is not None:
        return client.get(f"/v1/jobs/{quote_part(job_id)}")
    jobs: list[Json] = client.get("/v1/jobs")["jobs"]
    if not jobs:
        raise UserError(
            "no jobs on this chain yet",
            "submit one: gradientcoin job submit examples/digits.toml",
            Exit.NOT_FOUND,
        )
    pending = [job for job in jobs if job["submitted"] is None]
    return pending[-1] if pending else max(jobs, key=lambda job: int(job["submitted"]))
