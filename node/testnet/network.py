"""A local network: starts, stops, kills and restarts its nodes, and never leaves one behind.

Node 0 starts first, every other node gets the addresses of those that run. Ports are the system's choice; the
nodes' node.json say which.
"""

import fcntl
import itertools
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from node.datadir import CONFIG, CONSOLE_FILE, LOG_FILE, NODE_FILE, NodeConfig, init_data_dir
from node.exits import Exit
from node.rpc.client import NodeClient, read_address, read_node_file
from node.rpc.errors import ClientError
from node.testnet.environment import has_kernels, node_environment
from node.testnet.process import (
    ProcessId,
    find_left_over,
    get_exit_status,
    is_alive,
    is_group_left,
    kill,
    kill_group,
    spawn,
    terminate,
)
from node.testnet.state import NetworkState, NodeEntry, TestnetError, load_state, save_state

# -P: a folder `node` in the current directory must not hide the package.
DAEMON = (sys.executable, "-P", "-m", "node")
ADVERSARY = (sys.executable, "-P", "-m", "node.testnet.adversary")  # then the attack's name
READY_TIMEOUT_S = 90.0
COMPILE_S = (
    510.0  # more for the first node where the kernels are to be compiled: a minute or two, or far more
)
STOP_TIMEOUT_S = 15.0
KILL_TIMEOUT_S = 5.0
POLL_S = 0.1
PROBE_TIMEOUT_S = 2.0
TAIL_LINES = 15
MAX_NODES = 50
MAX_BOOTSTRAP = 3

Report = Callable[[str, float], None]  # node name, seconds since the start


class Testnet:
    """The nodes under one directory. Every change is in testnet.json before the next one begins."""

    __test__ = False  # no test class, whatever pytest thinks of the name

    def __init__(
        self,
        directory: Path,
        state: NetworkState,
        command: Sequence[str] | None = None,
        adversary: Sequence[str] | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.state = state
        self.command, self.adversary = tuple(command or DAEMON), tuple(adversary or ADVERSARY)
        self.begun: dict[Path, int] = {}  # how long a node's logs were when this object started it
        self.seen: set[ProcessId] = set()  # every process this object stopped: none of its session may stay

    @classmethod
    def create(cls, directory: Path, name: str, seed: str, command: Sequence[str] | None = None) -> "Testnet":
        """A new network without nodes yet."""
        directory.mkdir(parents=True, exist_ok=True)
        state = NetworkState(name, seed)
        save_state(directory, state)
        return cls(directory, state, command)

    @classmethod
    def load(cls, directory: Path, command: Sequence[str] | None = None) -> "Testnet":
        return cls(directory, load_state(directory), command)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second `up` or `down` out of the directory."""
        with (self.directory / "testnet.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise TestnetError(
                    f"another command is changing the network in {self.directory}",
                    "wait until it is done, then try again",
                    Exit.LOCKED,
                ) from None
            yield

    # --- what is there ---

    def names(self) -> list[str]:
        return list(self.state.nodes)

    def running(self) -> list[str]:
        return [name for name, node in self.state.nodes.items() if node.is_running()]

    def next_name(self) -> str:
        """The first name of the usual kind that no node has."""
        numbers = itertools.count()
        return next(name for n in numbers if (name := f"node-{n}") not in self.state.nodes)

    def name_nodes(self, count: int, attacks: Mapping[str, int]) -> dict[str, str]:
        """The names of so many nodes and adversaries, with the attack of each; an honest node's is empty."""
        honest = {f"node-{index}": "" for index in range(count)}
        return honest | {f"{attack}-{i}": attack for attack, number in attacks.items() for i in range(number)}

    def data_dir(self, name: str) -> Path:
        return self.directory / name

    def client(self, name: str) -> NodeClient:
        """Client of a running node; raises NodeNotRunning."""
        chosen_by = f"node {name} of local network {self.state.name!r}"
        hint = f"start the network again: gradientcoin testnet up --dir {self.directory}"
        return NodeClient(read_address(self.data_dir(name), chosen_by, hint))

    def addresses(self, name: str) -> list[str]:
        """The multiaddrs a running node listens on."""
        return [str(address) for address in read_node_file(self.data_dir(name))["addresses"]]

    def is_ready(self, name: str) -> bool:
        """Whether this node's current process answers."""
        process = self.state.nodes[name].process
        try:
            if process is None or read_node_file(self.data_dir(name))["pid"] != process.pid:
                return False
            self.client(name).get("/v1/status", timeout_s=PROBE_TIMEOUT_S)
        except (OSError, ValueError, KeyError, ClientError):
            return False
        return True

    # --- changes ---

    def up(
        self,
        count: int,
        report: Report = lambda name, s: None,
        timeout_s: float = READY_TIMEOUT_S,
        attacks: Mapping[str, int] | None = None,
    ) -> None:
        """Bring the network to at least `count` running nodes; on any failure, or Ctrl+C, stop them all.

        `attacks` are how many adversaries of each name there shall be at least.
        """
        try:
            for name, attack in self.name_nodes(count, attacks or {}).items():
                self.add(name, attack)
            first, *others = self.names()
            started = [name for name in (first,) if self.start(name)]
            self.wait_ready(started, report, timeout_s if has_kernels() else timeout_s + COMPILE_S)
            started = [name for name in others if self.start(name)]
            self.wait_ready(started, report, timeout_s)
        except BaseException:
            self.stop()
            raise

    def add(self, name: str, attack: str = "") -> None:
        """Make a node's data directory unless it is there; it does not start yet. `attack`: see NodeEntry."""
        if name not in self.state.nodes and len(self.state.nodes) >= MAX_NODES:
            raise TestnetError(f"a local network has at most {MAX_NODES} nodes", "", Exit.USAGE)
        if not (self.data_dir(name) / CONFIG).exists():
            init_data_dir(self.data_dir(name), NodeConfig("local", self.state.seed, name))
        self.state.nodes.setdefault(name, NodeEntry(name, attack=attack))
        save_state(self.directory, self.state)

    def start(self, name: str) -> bool:
        """Start a node that does not run, towards those that do; False if it ran already. Does not wait."""
        node = self.state.nodes[name]
        if node.is_running():
            return False
        program = (*self.adversary, node.attack) if node.attack else self.command
        argv = [*program, "--data-dir", str(self.data_dir(name))]
        for address in self.find_bootstrap(name):
            argv += ["--bootstrap", address]
        (self.data_dir(name) / NODE_FILE).unlink(missing_ok=True)  # of a killed process
        for path in (self.data_dir(name) / CONSOLE_FILE, self.data_dir(name) / LOG_FILE):
            self.begun[path] = path.stat().st_size if path.is_file() else 0
        node.process = spawn(argv, node_environment(), self.data_dir(name) / CONSOLE_FILE)
        save_state(self.directory, self.state)
        return True

    def find_bootstrap(self, name: str) -> list[str]:
        ready = [
            other for other in self.running() if other != name and (self.data_dir(other) / NODE_FILE).exists()
        ]
        return [self.addresses(other)[0] for other in ready[:MAX_BOOTSTRAP]]

    def wait_ready(
        self, names: Iterable[str], report: Report = lambda name, s: None, timeout_s: float = READY_TIMEOUT_S
    ) -> None:
        """Wait until all these nodes answer; raises TestnetError with the log's end of one that fails."""
        begin = time.monotonic()
        waiting = list(names)
        while waiting:
            for name in tuple(waiting):
                if self.is_ready(name):
                    waiting.remove(name)
                    report(name, time.monotonic() - begin)
                else:
                    self.check_starting(name, time.monotonic() - begin, timeout_s)
            if waiting:
                time.sleep(POLL_S)

    def check_starting(self, name: str, waited_s: float, timeout_s: float) -> None:
        process = self.state.nodes[name].process
        if process is None or not is_alive(process):
            status = None if process is None else get_exit_status(process)
            how = "" if status is None else f" with exit code {status}"
            code = status if status in list(Exit) and status else Exit.FAILED
            raise TestnetError(
                f"{name} ended{how} before it was ready\n{self.tail(name)}", self.log_hint(name), code
            )
        if waited_s > timeout_s:
            raise TestnetError(
                f"{name} was not ready within {timeout_s:g} s\n{self.tail(name)}",
                self.log_hint(name),
                Exit.TIMEOUT,
            )

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> list[str]:
        """SIGTERM to all nodes, SIGKILL to those that stay; returns the names of the latter."""
        nodes = [node for node in self.state.nodes.values() if node.process is not None]
        for node in nodes:
            if node.process is not None:
                terminate(node.process)
        with suppress(KeyboardInterrupt):  # a second Ctrl+C means: do not wait
            wait_until(lambda: not any(node.is_running() for node in nodes), timeout_s)
        stubborn = [node.name for node in nodes if node.is_running()]
        for node in nodes:
            self.forget(node)
        self.sweep()
        return stubborn

    def stop_node(self, name: str, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """SIGTERM to one node, SIGKILL if it stays; False if it had to be killed."""
        node = self.state.nodes[name]
        if node.process is not None:
            terminate(node.process)
        wait_until(lambda: not node.is_running(), timeout_s)
        stopped = not node.is_running()
        self.forget(node)
        return stopped

    def sweep(self) -> None:
        """End what testnet.json did not know: an interrupt can fall between a start and its record."""
        for pid in self.list_left_over():
            kill(pid)
        wait_until(lambda: not self.list_left_over(), KILL_TIMEOUT_S)

    def kill(self, name: str) -> None:
        """SIGKILL a node with its worker, as a power cut would."""
        self.forget(self.state.nodes[name])

    def forget(self, node: NodeEntry) -> None:
        """Make sure nothing of a node's process group is left, then strike it from the state."""
        process = node.process
        if process is None:
            return
        self.seen.add(process)
        kill_group(process)  # returns before they are gone
        wait_until(lambda: not node.is_running() and not is_group_left(process), KILL_TIMEOUT_S)
        if not node.is_running():
            node.process = None
        save_state(self.directory, self.state)

    def remove(self) -> None:
        """Delete the directory of a stopped network."""
        shutil.rmtree(self.directory)

    def list_left_over(self) -> list[int]:
        """Pids of anything of this network that still runs; call after `stop`, empty if all is well."""
        return find_left_over(self.seen, self.directory)

    # --- words ---

    def tail(self, name: str) -> str:
        """The last lines that a node printed and logged since it was started last: its own words first."""
        lines: list[str] = []
        for path in (self.data_dir(name) / CONSOLE_FILE, self.data_dir(name) / LOG_FILE):
            if path.is_file():
                with path.open("rb") as file:
                    file.seek(self.begun.get(path, 0))
                    lines += file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join(f"  | {line}" for line in lines) if lines else "  | (it wrote nothing)"

    def log_hint(self, name: str) -> str:
        return f"its logs: {self.data_dir(name) / LOG_FILE.parent}"


def wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    """Return when the condition holds or the time is over."""
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL_S / 2)
