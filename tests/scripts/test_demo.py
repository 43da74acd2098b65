"""The demo's verdict: exit code 0 only if every promise was kept."""

from pathlib import Path
from typing import Any

import pytest

from tests.scripts.loading import SCRIPTS, load

demo_report = load(SCRIPTS / "demo_report.py")
CID, OTHER = "bafk1", "bafk2"
GOOD: dict[str, Any] = {
    "chain": {"seed": "demo", "genesis": "00"},
    "job": {
        "id": "ab",
        "title": "t",
        "status": "done",
        "reason": "",
        "version": 9,
        "loss": 3.1,
        "first_loss": 8.0,
        "target_loss": 3.2,
        "tickets": 40,
        "updates": 9,
        "paid": "310000000",
        "data_cid": CID,
        "spec_sha256": "00",
    },
    "nodes": [{"name": f"node-{i}", "accuracy": 0.94, "count": 297, "weights_cid": CID} for i in range(5)],
    "verify": {"ok": True, "weights": {"ab": CID}, "blocks": 80, "runs": 5, "replayed": 80, "settlements": 9},
    "seconds": {"up": 10.0, "target": 60.0, "agreed": 65.0, "verify": 5.0, "total": 75.0},
}
BAD_NODE = {"name": "node-0", "accuracy": 0.5, "count": 297, "weights_cid": CID}
ODD_NODE = {"name": "node-0", "accuracy": 0.94, "count": 297, "weights_cid": OTHER}


def test_kept_promises_give_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = demo_report.Report(**GOOD)
    assert demo_report.list_failures(report, []) == []
    demo_report.print_report(report, tmp_path, [])
    out = capsys.readouterr().out
    assert "equal on all 5 nodes" in out
    assert "94.00%" in out


@pytest.mark.parametrize(
    ("change", "left", "word"),
    [
        ({"nodes": [BAD_NODE, *GOOD["nodes"][1:]]}, [], "accuracy 50.0%"),
        ({"nodes": [ODD_NODE, *GOOD["nodes"][1:]]}, [], "2 different weights"),
        ({"nodes": []}, [], "accuracy 0.0%"),
        ({"verify": {**GOOD["verify"], "ok": False, "error": "block 7"}}, [], "block 7"),
        ({"verify": {**GOOD["verify"], "weights": {"ab": OTHER}}}, [], "other weights"),
        ({"job": {**GOOD["job"], "status": "cancelled"}}, [], "cancelled"),
        ({}, [4711], "4711"),
    ],
)
def test_each_broken_promise_is_named(change: dict[str, Any], left: list[int], word: str) -> None:
    failures = demo_report.list_failures(demo_report.Report(**{**GOOD, **change}), left)
    assert any(word in failure for failure in failures)
