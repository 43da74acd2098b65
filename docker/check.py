"""Do what the Dockerfile and compose.yaml say, without an engine: build in a throw-away folder, start four processes.

Every step comes from the two files. What differs from an engine: a virtual environment stands for the base image,
absolute paths lie in the folder, nothing is isolated, no user is made, and all nodes share this machine's loopback,
so each gets a free port. Ends with 0 if the four form one network and stop when asked.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compose_file import load_compose
from image_file import get_environment, get_words, parse_dockerfile, substitute

DOCKER = Path(__file__).resolve().parent
ROOT = DOCKER.parent
IMAGE_PATHS = re.compile(r"(?<![\w./])/(?=(?:opt/gradientcoin|data|shared)\b)")
ROOT_ONLY = "groupadd"  # a RUN that starts with it makes users and folders that only root can make
LONG_STEPS = ("pip install", "training.exact.warm")  # a RUN with one of them is not needed with --prefix
BUILD_TIMEOUT_S, HEALTH_TIMEOUT_S, AGREE_TIMEOUT_S, STOP_TIMEOUT_S = 1800.0, 180.0, 120.0, 60.0
POLL_S = 1.0
COMMON_HEIGHT = 3  # a block that all nodes must have


class CheckFailed(Exception):
    """A step that did not do what the files promise."""


@dataclass
class Image:
    """What the Dockerfile builds: a folder for /, and the environment its processes get."""

    folder: Path
    python_bin: Path
    environment: dict[str, str]

    def place(self, text: str, data: Path | None = None, shared: Path | None = None) -> str:
        """Absolute paths of the image as paths of this machine; /data and /shared may be a container's own."""
        if data is not None:
            text = re.sub(r"(?<![\w./])/data\b", str(data), text)
        if shared is not None:
            text = re.sub(r"(?<![\w./])/shared\b", str(shared), text)
        return IMAGE_PATHS.sub(f"{self.folder}/", text)


@dataclass
class Container:
    """One service of compose.yaml as a process."""

    name: str
    environment: dict[str, str]
    data: Path
    waits_for: list[str]
    process: subprocess.Popen[bytes] | None = field(default=None)


# --- the image --------------------------------------------------------------------------------------------------------


def build_image(folder: Path, torch_index: str, prefix: Path | None) -> Image:
    """Carry out the Dockerfile; with `prefix`, an environment that has everything, without installing and compiling."""
    instructions = parse_dockerfile(DOCKER / "Dockerfile")
    python_bin = prefix / "bin" if prefix else make_base(folder, instructions[0].text)
    image = Image(folder, python_bin, {})
    image.environment = make_environment(image, get_environment(instructions))
    if prefix:
        image.environment["NUMBA_CACHE_DIR"] = str(prefix / "numba-cache")
    workdir = folder
    for instruction in instructions:
        if instruction.name == "WORKDIR":
            workdir = Path(image.place(instruction.text))
            workdir.mkdir(parents=True)
        elif instruction.name == "COPY":
            copy(instruction.text, workdir)
        elif instruction.name == "RUN":
            run_step(instruction.text, image, workdir, torch_index, is_quick=prefix is not None)
    return image


def make_base(folder: Path, base: str) -> Path:
    """A virtual environment in place of the base image, of the same Python."""
    version = re.fullmatch(r"python:(\d+\.\d+)-slim\S*", base)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version is None or version[1] != here:
        raise CheckFailed(f"FROM {base}: run this check with that Python, not with {here}")
    subprocess.run([sys.executable, "-m", "venv", folder / "base"], check=True, timeout=120)
    return folder / "base" / "bin"


def make_environment(image: Image, env: dict[str, str]) -> dict[str, str]:
    """ENV of the Dockerfile, and of this process only what finds programs and packages."""
    kept = {key: value for key, value in os.environ.items() if key.startswith("PIP_") or key == "LANG"}
    placed = {key: image.place(value) for key, value in env.items()}
    path = f"{image.python_bin}:/usr/local/bin:/usr/bin:/bin"
    return {**kept, **placed, "PATH": path, "HOME": str(image.folder)}


def copy(text: str, workdir: Path) -> None:
    """COPY from the repository, as far as Dockerfile.dockerignore lets it through."""
    *sources, target = text.split()
    for source in sources:
        if f"!{source}" not in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines():
            raise CheckFailed(f"COPY {source}: Dockerfile.dockerignore does not let it through")
        if (ROOT / source).is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(ROOT / source, workdir / target, ignore=ignore)
        else:
            shutil.copy2(ROOT / source, workdir / target)
    say(f"COPY {text}")


def run_step(text: str, image: Image, workdir: Path, torch_index: str, *, is_quick: bool) -> None:
    if text.startswith(ROOT_ONLY):
        say(f"skipped, only root of an image can: RUN {text}")
        return
    if is_quick and any(step in text for step in LONG_STEPS):
        say(f"skipped, as asked: RUN {text}")
        return
    say(f"RUN {text}")
    start = time.monotonic()
    environment = image.environment | {"TORCH_INDEX": torch_index}
    command = ["/bin/sh", "-c", image.place(text)]
    done = subprocess.run(
        command, cwd=workdir, env=environment, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S
    )
    if done.returncode:
        raise CheckFailed(f"RUN {text}: exit code {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")
    say(f"    {time.monotonic() - start:.0f} s")


# --- the containers ---------------------------------------------------------------------------------------------------


def make_containers(image: Image) -> list[Container]:
    """The services in the order they wait for each other."""
    services = load_compose(DOCKER / "compose.yaml")["services"]
    shared = image.folder / "volumes" / "shared"
    containers = []
    for name, service in services.items():
        mounts = dict(volume.split(":")[1::-1] for volume in service["volumes"])  # path: volume
        data = image.folder / "volumes" / mounts["/data"]
        for folder in (data, shared):
            folder.mkdir(parents=True, exist_ok=True)
        given = {key: substitute(value, {}) for key, value in service["environment"].items()}
        environment = {key: image.place(value, data, shared) for key, value in given.items()}
        environment |= {"NODE_HOST": "127.0.0.1", "NODE_PORT": str(find_free_port())}
        environment |= {key: str(data) for key in ("GRADIENTCOIN_DATA_DIR", "GRADIENTCOIN_NODE")}
        containers.append(
            Container(name, image.environment | environment, data, list(service.get("depends_on", {})))
        )
    return sorted(containers, key=lambda container: len(container.waits_for))


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(container: Container, image: Image, log: Path) -> None:
    words = [image.place(word) for word in get_words(parse_dockerfile(DOCKER / "Dockerfile"), "ENTRYPOINT")]
    with log.open("wb") as output:
        container.process = subprocess.Popen(
            [str(image.python_bin / words[0]), *words[1:]],
            cwd=image.folder / "opt" / "gradientcoin",
            env=container.environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    say(f"{container.name}: started, waits for its health check")
    wait_until(f"{container.name} is healthy", HEALTH_TIMEOUT_S, lambda: is_healthy(container, image))


def is_healthy(container: Container, image: Image) -> bool:
    """The Dockerfile's HEALTHCHECK."""
    assert container.process is not None
    if container.process.poll() is not None:
        raise CheckFailed(f"{container.name} ended with exit code {container.process.returncode}")
    words = get_words(parse_dockerfile(DOCKER / "Dockerfile"), "HEALTHCHECK")
    return ask(container, image, words).returncode == 0


def ask(container: Container, image: Image, words: list[str]) -> subprocess.CompletedProcess[str]:
    """What `docker compose exec NODE WORDS` would run."""
    command = [str(image.python_bin / words[0]), *words[1:]]
    return subprocess.run(
        command, env=container.environment, cwd=image.folder, capture_output=True, text=True, timeout=60
    )


def ask_json(container: Container, image: Image, *words: str) -> dict[str, Any]:  # Any: JSON
    done = ask(container, image, ["gradientcoin", *words, "--json"])
    if done.returncode:
        raise CheckFailed(f"{container.name}: {' '.join(words)}: exit code {done.returncode}: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def check_network(containers: list[Container], image: Image) -> None:
    """All nodes know all others, have one genesis, and the same block at one height."""
    others = len(containers) - 1

    def is_joined() -> bool:
        answers = [ask_json(container, image, "status") for container in containers]
        return all(a["peers"] >= others and a["head"]["height"] > COMMON_HEIGHT for a in answers)

    wait_until(f"each node has {others} peers and blocks", AGREE_TIMEOUT_S, is_joined)
    answers = [ask_json(container, image, "status") for container in containers]
    if len({answer["genesis"] for answer in answers}) != 1:
        raise CheckFailed("the nodes have different chains")
    wait_until(
        f"all nodes have the same block {COMMON_HEIGHT}",
        AGREE_TIMEOUT_S,
        lambda: len({read_block(container, image) for container in containers}) == 1,
    )
    heights = ", ".join(f"{a['name']} {a['head']['height']} ({a['peers']} peers)" for a in answers)
    say(f"one network: genesis {answers[0]['genesis'][:16]}, heights {heights}")


def read_block(container: Container, image: Image) -> str:
    return str(ask_json(container, image, "chain", "show", str(COMMON_HEIGHT))["hash"])


def stop(containers: list[Container]) -> None:
    """SIGTERM, as the Dockerfile's STOPSIGNAL says; SIGKILL for the whole group of whoever does not listen."""
    running = [c.process for c in containers if c.process is not None and c.process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGTERM)
    late = []
    for process in running:
        try:
            process.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            late.append(process.wait())
    codes = [process.returncode for process in running]
    if late or any(codes):
        raise CheckFailed(
            f"after SIGTERM the nodes ended with {codes}; expected 0 within {STOP_TIMEOUT_S:.0f} s"
        )
    say(f"{len(running)} nodes stopped on SIGTERM with exit code 0")


# --- everything -------------------------------------------------------------------------------------------------------


def wait_until(what: str, timeout_s: float, is_so: Any) -> None:  # Any: a function without arguments
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise CheckFailed(f"not so within {timeout_s:.0f} s: {what}")
        time.sleep(POLL_S)


def say(text: str) -> None:
    print(f"[check] {text}", flush=True)


def check(folder: Path, torch_index: str, prefix: Path | None) -> None:
    image = build_image(folder, torch_index, prefix)
    containers = make_containers(image)
    logs = {container.name: folder / f"{container.name}.log" for container in containers}
    try:
        for container in containers:
            start(container, image, logs[container.name])
        check_network(containers, image)
        stop(containers)
    except BaseException:
        for name, log in logs.items():
            if log.exists():
                print(f"--- {name}\n{log.read_text()[-1500:]}", file=sys.stderr)
        stop_all(containers)
        raise


def stop_all(containers: list[Container]) -> None:
    """Leave no process behind, whatever went wrong."""
    try:
        stop(containers)
    except CheckFailed as error:
        say(str(error))


def main() -> int:
    parser = argparse.ArgumentParser(prog="docker/check", description="Check docker/ without an engine.")
    parser.add_argument("--torch-index", default=os.environ.get("GRADIENTCOIN_TORCH_INDEX", ""))
    parser.add_argument(
        "--prefix", type=Path, help="a virtual environment that has everything: install and compile nothing"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gradientcoin-docker-") as folder:
        try:
            check(Path(folder), options.torch_index, options.prefix and options.prefix.absolute())
        except CheckFailed as error:
            say(f"FAILED: {error}")
            return 1
    say("OK")
    return 0


if __name__ == "__main__":
    sys.exit(main())
