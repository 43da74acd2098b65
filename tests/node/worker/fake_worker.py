"""A training process without training: answers by the kind of request, dies when told to.

`python -m tests.node.worker.fake_worker GENESIS BLOBS PATH`; BLOBS is a folder for notes between its lives.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from node.worker.wire import Frame, FrameReader, write_frame


def main() -> None:
    notes = Path(sys.argv[2])
    if sys.argv[3] == "broken":
        sys.exit("broken")
    write_frame(1, [0, "hello", 1, "fake"])
    reader = FrameReader(0)
    while (frame := reader.read()) is not None:
        answer(frame, notes)


def answer(frame: Frame, notes: Path) -> None:
    number, kind, *arguments = frame
    with (notes / "seen").open("a") as file:
        file.write(f"{kind}\n")
    if kind == "die" or (kind == "die-once" and not (notes / "died").exists()):
        (notes / "died").touch()
        os._exit(3)
    if kind == "hang" and not (notes / "hung").exists():
        (notes / "hung").touch()
        time.sleep(600)
    if kind == "garble" and not (notes / "garbled").exists():
        (notes / "garbled").touch()
        os.write(1, b"\xff" * 64)
    if number:
        write_frame(1, [number, "ok", kind, *arguments])


if __name__ == "__main__":
    main()
