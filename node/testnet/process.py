"""Detached daemon processes: start, look, signal, and find what is left of them.

A process is named by its pid and its start time, so that a number the system used again is never signalled.
"""

import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_children: dict[
    int, subprocess.Popen[bytes]
] = {}  # started by this process: polled, so that none stays a zombie


@dataclass(frozen=True, slots=True)
class ProcessId:
    """`started` is the system's own word for the start time; compared, never read."""

    pid: int
    started: str


def spawn(argv: Sequence[str], env: Mapping[str, str], console: Path) -> ProcessId:
    """Start a process in a session of its own, with its output appended to `console`."""
    console.parent.mkdir(parents=True, exist_ok=True)
    with console.open("ab") as output:
        child = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    _children[child.pid] = child
    return ProcessId(child.pid, read_start(child.pid) or "")


def is_alive(process: ProcessId) -> bool:
    """Whether this very process runs; a zombie does not.

    Of a child the system says it: a leader that ended while its threads still do looks like a zombie, but holds
    its locks and ports.
    """
    child = _children.get(process.pid)
    if child is not None:
        return child.poll() is None
    return process.started != "" and read_start(process.pid) == process.started


def get_exit_status(process: ProcessId) -> int | None:
    """Exit status where it is known: only for processes this one started."""
    child = _children.get(process.pid)
    return None if child is None else child.poll()


def terminate(process: ProcessId) -> None:
    """Ask the process, not its children, to stop."""
    if is_alive(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)


def kill_group(process: ProcessId) -> None:
    """SIGKILL the process and all of its group, also when the leader is gone already."""
    started = read_start(process.pid)
    if started is not None and started != process.started:
        return  # the number belongs to somebody else now, hence our group is empty
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def kill(pid: int) -> None:
    """SIGKILL one process."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def read_start(pid: int) -> str | None:
    """Start time of a process, None when there is none or it is a zombie."""
    if not PROC.joinpath("self").exists():
        return read_start_by_ps(pid)
    fields = read_stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return fields[19]  # field 22 of proc(5), counted from the state, which is field 3


def read_stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on; the name before it may hold blanks and brackets."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def read_start_by_ps(pid: int) -> str | None:
    ps = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = ps.stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None


def find_left_over(processes: Iterable[ProcessId], directory: Path) -> list[int]:
    """Pids that belong to these sessions or have a data directory below `directory`; own pid excluded."""
    sessions = {process.pid for process in processes}
    marker = os.fsencode(directory)
    if not PROC.joinpath("self").exists():
        return [process.pid for process in processes if is_alive(process)]
    pids = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return sorted(pid for pid in pids if pid != os.getpid() and belongs(pid, sessions, marker))


def is_group_left(process: ProcessId) -> bool:
    """Whether anything of the process's session still runs, the process itself or what it started."""
    if not PROC.joinpath("self").exists():
        return is_alive(process)
    fields = (read_stat(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdigit())
    return any(f is not None and f[0] not in "ZX" and int(f[3]) == process.pid for f in fields)


def belongs(pid: int, sessions: set[int], marker: bytes) -> bool:
    fields = read_stat(pid)
    if fields is None or fields[0] in "ZX":
        return False
    if int(fields[3]) in sessions:  # field 6 of proc(5): the session
        return True
    try:
        arguments = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"--data-dir" in arguments and any(part.startswith(marker + b"/") for part in arguments)
