"""The set-up installs constraints.txt without resolving: these rules keep it complete and free of places."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PINNED = re.compile(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*")


def read_requirements(path: str) -> list[str]:
    lines = (ROOT / path).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def read_project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def get_name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None, f"no package name in {requirement!r}"
    return re.sub(r"[-_.]+", "-", match.group()).lower()


@pytest.mark.parametrize("path", ["constraints.txt", "scripts/overrides.txt"])
def test_pins_name_exact_versions_and_no_place(path: str) -> None:
    assert [line for line in read_requirements(path) if not PINNED.fullmatch(line)] == []


def test_every_dependency_is_pinned() -> None:
    project = read_project()
    wanted = {get_name(r) for r in project["dependencies"] + project["optional-dependencies"]["dev"]}
    pinned = {get_name(r) for r in read_requirements("constraints.txt")}
    assert wanted - pinned == set(), "install them with pip, then run scripts/lock"


def test_what_benchmarks_compare_with_is_pinned_and_not_set_up() -> None:
    wanted = read_project()["optional-dependencies"]["bench"]
    assert [each for each in wanted if not PINNED.fullmatch(each)] == []
    pinned = {get_name(r) for r in read_requirements("constraints.txt")}
    assert pinned & {get_name(each) for each in wanted} == set()


def test_overridden_packages_are_not_constrained() -> None:
    # A constraint on fastecdsa next to libp2p's own pin would leave pip without a solution.
    overridden = {get_name(r) for r in read_requirements("scripts/overrides.txt")}
    assert overridden & {get_name(r) for r in read_requirements("constraints.txt")} == set()
