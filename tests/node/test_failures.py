"""What a full disk is told as."""

import errno
from pathlib import Path

from node.failures import explain_disk


def test_full_disk_names_the_file_or_else_the_directory() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    assert explain_disk(full, Path("/data/n")).message == "a file in /data/n: No space left on device"
    named = OSError(errno.ENOSPC, "No space left on device", "/data/n/genesis.new")
    assert explain_disk(named, Path("/data/n")).message == "/data/n/genesis.new: No space left on device"
