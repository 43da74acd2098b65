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
        if file.stat().st_size > MAX_JOB_FILE_BYTES:
            raise bad_file(
                file, f"has {file.stat().st_size:,} bytes, at most {MAX_JOB_FILE_BYTES:,} are allowed"
            )
        text = file.read_text(encoding="utf-8-sig")
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
        if path.stat().st_size > MAX_DATA_BYTES:
            raise bad_file(
                path, f"has {path.stat().st_size:,} bytes, at most {MAX_DATA_BYTES:,} can be submitted"
            )
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise bad_file(path, f"cannot be read: {reason}; {job_file} names it in [data] file") from None


def bad_file(path: Path, what: str) -> UserError:
    return UserError(f"{path} {what}", f"{find_example()} is a job file that works", Exit.BAD_FILE)
