"""Read compose.yaml: the part of YAML that it uses, so that the check needs no package.

Mappings by indentation, lists of scalars in brackets, quoted and plain scalars, anchors and merges of mappings.
Anything else is a ValueError that names the line.
"""

import re
from pathlib import Path
from typing import Any

Tree = dict[str, Any]  # Any: scalars are str, lists are list[str], the rest is Tree
LINE = re.compile(r"(?P<indent> *)(?P<key>[\w.<-]+):(?: +(?P<value>.+))?")


def load_compose(path: Path) -> Tree:
    """The file as nested dictionaries; merges are carried out, variables are not."""
    anchors: dict[str, Tree] = {}
    root: Tree = {}
    open_trees: list[tuple[int, Tree]] = [(-1, root)]  # indentation of the key that opened it
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", line).rstrip()
        if not line:
            continue
        match = LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"{path}, line {number}: not understood: {line!r}")
        indent = len(match["indent"])
        while open_trees[-1][0] >= indent:
            open_trees.pop()
        _add(open_trees, indent, match["key"], match["value"] or "", anchors)
    return root


def _add(
    open_trees: list[tuple[int, Tree]], indent: int, key: str, value: str, anchors: dict[str, Tree]
) -> None:
    tree = open_trees[-1][1]
    if key == "<<":
        tree.update(
            {name: part for name, part in anchors[value.removeprefix("*")].items() if name not in tree}
        )
    elif value == "" or value.startswith("&"):
        tree[key] = {}
        open_trees.append((indent, tree[key]))
        if value:
            anchors[value.removeprefix("&")] = tree[key]
    else:
        tree[key] = _read_value(value)


def _read_value(text: str) -> str | list[str]:
    if text.startswith("[") and text.endswith("]"):
        return [_unquote(part) for part in text[1:-1].split(",")]
    return _unquote(text)


def _unquote(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
