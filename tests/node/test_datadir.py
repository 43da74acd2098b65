"""What a data directory must hold before a node starts in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.datadir import KEY_FILES, DataDirError, NodeConfig, check_keys, init_data_dir
from node.exits import Exit


@pytest.mark.parametrize("name", KEY_FILES)
def test_missing_key_is_refused_until_init_force_makes_it(tmp_path: Path, name: str) -> None:
    init_data_dir(tmp_path, NodeConfig())
    kept = {other: (tmp_path / other).read_text() for other in KEY_FILES if other != name}
    (tmp_path / name).unlink()
    with pytest.raises(DataDirError, match=f"{name} is missing") as caught:
        check_keys(tmp_path)
    assert caught.value.exit_code == Exit.DAMAGED
    assert "init --force" in caught.value.hint
    assert not (tmp_path / name).exists()
    init_data_dir(tmp_path, NodeConfig(), force=True)
    check_keys(tmp_path)
    assert {other: (tmp_path / other).read_text() for other in kept} == kept
