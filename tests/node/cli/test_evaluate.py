"""`job evaluate` and what other verbs say of a secret evaluation split."""

import base64
import copy
import json
from pathlib import Path
from typing import Any

from tests.node.cli.conftest import Cli
from tests.node.cli.fake_api import JOB, SUMMARY, FakeApi, error
from tests.node.cli.test_output import JOB_FILE, SUBMITTED
from tests.node.cli.test_owner_verbs import QUOTE

ROOT = "ab" * 32
ROUTE = f"POST /v1/jobs/{JOB}/evaluate"
SPLIT = {"samples": 1200, "tranches": 4, "folder": "/home/me/node/evaluation"}


def make_version(number: int, loss: float, judge_loss: float, accuracy: float | None) -> dict[str, Any]:
    return {
        "version": number,
        "height": 10 * number or None,
        "weights_cid": "b",
        "loss": loss,
        "sum_units": "1",
        "accuracy": accuracy,
        "judge_loss": judge_loss,
        "judge_sum_units": "1",
        "judge_accuracy": accuracy,
    }


ANSWER = {
    "id": JOB,
    "title": "Digits",
    "evaluation": ROOT,
    "tranche": 2,
    "tranches": 4,
    "samples": 300,
    "judge_samples": 500,
    "versions": [make_version(0, 2.25, 2.5, None), make_version(7, 2.0, 1.5, None)],
}


def prepare(api: FakeApi, answer: object = ANSWER) -> list[str]:
    """A job with a split, and two files."""
    api.routes[f"GET /v1/jobs/{JOB}"] = api.routes["GET /v1/jobs/5f3a"] = SUMMARY | {"evaluation": ROOT}
    api.routes[ROUTE] = answer  # type: ignore[assignment]
    for name in ("a.gct", "b.gct"):
        Path(name).write_bytes(name.encode())
    return ["a.gct", "b.gct"]


def test_evaluate_prints_a_row_for_each_version(cli: Cli, api: FakeApi) -> None:
    files = prepare(api)
    ran = cli("job", "evaluate", "5f3a", files[0])
    assert ran.code == 0
    assert "committed to 4 tranches" in ran.out
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[1] == ["version", "judging", "(500)", "tranche", "2", "(300)"]
    assert [line[0] for line in lines[2:4]] == ["v0", "v7"]
    assert [float(text) for text in (*lines[2][1:], *lines[3][1:])] == [2.5, 2.25, 1.5, 2.0]
    assert "but rose" not in ran.out
    [(_, body)] = [request for request in api.requests if request[0].startswith("POST")]
    assert body == {"tranche_base64": base64.b64encode(b"a.gct").decode()}


def test_evaluate_gives_every_file_a_column_and_json_all_of_it(cli: Cli, api: FakeApi) -> None:
    files = prepare(api)
    ran = cli("job", "evaluate", "5f3a", *files)
    assert ran.out.count("tranche 2 (300)") == 2
    told = json.loads(cli("job", "evaluate", "5f3a", *files, "--all", "--json").out)
    rest = {name: ANSWER[name] for name in ANSWER if name not in ("id", "title", "evaluation")}
    assert told == {"id": JOB, "title": "Digits", "evaluation": ROOT, "tranches": [rest, rest]}


def test_evaluate_shows_accuracies_where_targets_are_classes(cli: Cli, api: FakeApi) -> None:
    versions = [make_version(0, 2.25, 2.5, 0.125), make_version(7, 2.0, 1.5, 0.875)]
    files = prepare(api, ANSWER | {"versions": versions})
    assert "87.5 % right" in cli("job", "evaluate", "5f3a", files[0]).out


def test_weights_that_fit_only_what_judges_them_are_named(cli: Cli, api: FakeApi) -> None:
    answer = copy.deepcopy(ANSWER)
    answer["versions"][1]["loss"] = 2.75  # type: ignore[index]
    files = prepare(api, answer)
    ran = cli("job", "evaluate", "5f3a", files[0])
    assert ran.code == 0
    assert "the judging loss fell from v0 to v7, but rose on tranche 2" in ran.out


def test_wrong_file_is_named_with_what_was_expected(cli: Cli, api: FakeApi) -> None:
    files = prepare(api, error(422, "bad_file", f"a tranche of {ROOT} expected", "ask the owner"))
    ran = cli("job", "evaluate", "5f3a", files[0])
    assert ran.code == 3
    assert f"a.gct: a tranche of {ROOT} expected" in ran.err
    assert "ask the owner" in ran.err
    missing = cli("job", "evaluate", "5f3a", "none.gct")
    assert missing.code == 3
    assert "none.gct cannot be read" in missing.err


def test_job_without_a_split_is_not_asked_about(cli: Cli, api: FakeApi) -> None:
    files = prepare(api)
    api.routes["GET /v1/jobs/5f3a"] = SUMMARY
    ran = cli("job", "evaluate", "5f3a", files[0])
    assert ran.code == 1
    assert "committed to no evaluation split" in ran.err


def test_file_too_large_for_a_request_is_refused_here(cli: Cli, api: FakeApi) -> None:
    prepare(api)
    with Path("large.gct").open("wb") as file:
        file.truncate(12_000_001)
    for name in ("large.gct", "/dev/zero"):  # the second says that it has no bytes
        ran = cli("job", "evaluate", "5f3a", name)
        assert ran.code == 3
        assert f"{name} has more than 12,000,000 bytes" in ran.err


def test_show_quote_and_submit_tell_of_the_split(cli: Cli, api: FakeApi) -> None:
    prepare(api)
    assert f"a secret split, root {ROOT}" in cli("job", "show", "5f3a").out
    Path("data").mkdir()
    Path("data/digits.npz").write_bytes(b"npz")
    Path("job.toml").write_text(JOB_FILE)
    api.routes["POST /v1/jobs/quote"] = QUOTE | {"evaluation": SPLIT}
    api.routes["POST /v1/jobs"] = SUBMITTED | {"evaluation": SPLIT}
    told = "1,200 secret samples in 4 tranches, {} /home/me/node/evaluation"
    assert told.format("to be written into") in cli("job", "quote", "job.toml").out
    assert told.format("in") in cli("job", "submit", "job.toml").out


def test_job_without_a_split_says_nothing_of_one(cli: Cli, api: FakeApi) -> None:
    assert "evaluation" not in cli("job", "show", "5f3a").out
