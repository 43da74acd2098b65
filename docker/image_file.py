"""Read a Dockerfile: instructions in their order, with what the check and the tests need of each."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BUILD = {"FROM", "ARG", "ENV", "RUN", "WORKDIR", "COPY", "USER"}
KNOWN = BUILD | {"VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT"}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; `text` is what follows its name, lines joined."""

    name: str
    text: str


def parse_dockerfile(path: Path) -> list[Instruction]:
    """The instructions of a Dockerfile. ValueError for one that the check would not understand."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines) + "\n")
    found = []
    for line in filter(str.strip, joined.splitlines()):
        name, _, text = line.strip().partition(" ")
        if name not in KNOWN:
            raise ValueError(f"{path}: unknown instruction {name!r}")
        found.append(Instruction(name, text.strip()))
    return found


def get_text(instructions: list[Instruction], name: str) -> str:
    """What follows the only instruction of that name."""
    (text,) = [instruction.text for instruction in instructions if instruction.name == name]
    return text


def get_words(instructions: list[Instruction], name: str) -> list[str]:
    """The words of a JSON-form instruction, as in ENTRYPOINT ["a", "b"]; options before the list are left out."""
    text = get_text(instructions, name)
    words: list[str] = json.loads(text[text.index("[") :])
    return words


def get_environment(instructions: list[Instruction]) -> dict[str, str]:
    """All ENV values."""
    words = [word for i in instructions if i.name == "ENV" for word in shlex.split(i.text)]
    return dict(word.split("=", 1) for word in words)


def get_copies(instructions: list[Instruction]) -> list[tuple[list[str], str]]:
    """Sources and destination of every COPY."""
    return [(words[:-1], words[-1]) for i in instructions if i.name == "COPY" for words in [i.text.split()]]


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Compose's ${NAME:-default}, the only form that compose.yaml uses."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: values.get(match[1]) or match[2], text)
