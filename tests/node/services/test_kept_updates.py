"""Updates between commit and settlement survive the node, and damage costs one of them only."""

from __future__ import annotations

import json
import logging
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.privacy import PrivacyRecord
from node.services.kept_updates import FOLDER, MAX_KEPT, KeptUpdate, KeptUpdates


def make(number: int) -> KeptUpdate:
    return KeptUpdate(bytes([1]) * 32, bytes([2]) * 32, number, bytes([3]) * 32, b"payload %d" % number)


def test_kept_update_is_there_after_a_restart_and_gone_when_dropped(tmp_path: Path) -> None:
    kept = KeptUpdates(tmp_path)
    assert kept.get_all() == []
    kept.add(make(1))
    kept.add(make(2))
    again = KeptUpdates(tmp_path)
    assert sorted(u.round for u in again.get_all()) == [1, 2]
    again.drop(make(1))
    again.drop(make(1))
    assert [u.round for u in KeptUpdates(tmp_path).get_all()] == [2]


def test_privacy_is_kept_until_the_reveal_and_old_files_have_none(tmp_path: Path) -> None:
    told = PrivacyRecord(bytes(32), 8000, 10**10, 5, 1 << 30, 1, 1 << 40)
    private = replace(make(1), privacy=told)
    KeptUpdates(tmp_path).add(private)
    (again,) = KeptUpdates(tmp_path).get_all()
    assert again == private
    assert again.make_reveal().privacy == told
    (path,) = (tmp_path / FOLDER).iterdir()
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"privacy": "c0"}))
    assert KeptUpdates(tmp_path).get_all() == []
    del fields["privacy"]
    path.write_text(json.dumps(fields))
    assert KeptUpdates(tmp_path).get_all() == [make(1)]


def test_only_its_owner_reads_an_update(tmp_path: Path) -> None:
    KeptUpdates(tmp_path).add(make(1))
    (path,) = (tmp_path / FOLDER).iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"miner": 5}', '{"miner": "zz"}', "\udcff"])
def test_damaged_file_is_told_and_the_others_are_kept(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    KeptUpdates(tmp_path).add(make(1))
    (tmp_path / FOLDER / "damaged.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with caplog.at_level(logging.WARNING):
        assert len(KeptUpdates(tmp_path).get_all()) == 1
    assert "damaged.json" in caplog.text


def test_number_of_kept_updates_is_bounded(tmp_path: Path) -> None:
    kept = KeptUpdates(tmp_path)
    for number in range(MAX_KEPT):
        kept.add(make(number))
    with pytest.raises(OSError, match="wait for their settlement"):
        kept.add(make(MAX_KEPT))
