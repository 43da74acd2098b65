"""Job files as the command line reads them: the file, the data it names, and the request that both become."""

import base64
import tomllib
from pathlib import Path

from node.cli.examples import find_example
from node.exits import Exit, UserError
from node.rpc.client import Json

MAX_JOB_FILE_BYTES = 1 << 16
MAX_DATA_BYTES = 12_000_000  # in base64 it must fit into a request of 16 MiB


def make_submission(file: Path, sender: str | None, parent: str | None) -> Json:
    """The request that submits a job file with its data; raises UserError for files that cannot be read.

    `parent` is the job to continue, whatever the file says of it.
    """
    toml, data_name = read_job_file(file)
    data = read_data(file.parent / data_name, file)
    submission = {
        "file_name": file.name,
        "toml": toml,
        "data_name": data_name,
        "data_base64": base64.b64encode(data).decode(),
    }
    return submission | {name: value for name, value in (("from", sender), ("parent", parent)) if value}


def read_job_file(file: Path) -> tuple[str, str]:
    """The file's text and where it says its data is; what else it says is the node's to judge."""
    try:
        raw = read_at_most(file, MAX_JOB_FILE_BYTES)
        if raw is None:
            raise bad_file(file, f"has more than {MAX_JOB_FILE_BYTES:,} bytes, the most that a job file has")
        text = raw.decode("utf-8-sig")
        data = tomllib.loads(text).get("data")
    except OSError as error:
        raise bad_file(file, f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise bad_file(file, f"is no UTF-8 text (byte {error.start}); a job file is TOML") from None
    except tomllib.TOMLDecodeError as error:
        raise bad_file(file, f"is not valid TOML: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("file"), str):
        raise bad_file(file, 'names no data: expected a section [data] with file = "..."')
    return text, data["file"]


def read_data(path: Path, job_file: Path) -> bytes:
    try:
        data = read_at_most(path, MAX_DATA_BYTES)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise bad_file(path, f"cannot be read: {reason}; {job_file} names it in [data] file") from None
    if data is None:
        raise bad_file(path, f"has more than {MAX_DATA_BYTES:,} bytes, the most that can be submitted")
    return data


def read_at_most(path: Path, limit: int) -> bytes | None:
    """A file's bytes, None if they are more; OSError if it cannot be read. A device says that it has none."""
    with path.open("rb") as stream:
        data = stream.read(limit + 1)
    return data if len(data) <= limit else None


def bad_file(path: Path, what: str) -> UserError:
    return UserError(f"{path} {what}", f"{find_example()} is a job file that works", Exit.BAD_FILE)
