"""A trainer without training: what it does is told by the solver's name of a request.

`python -m tests.node.trainer.fake_trainer GENESIS BLOBS PATH`; BLOBS is a folder for notes between its lives.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from node.trainer.requests import decode_request
from node.worker.wire import Frame, FrameReader, write_frame


def main() -> None:
    notes = Path(sys.argv[2])
    reader = FrameReader(0)
    while (frame := reader.read()) is not None:
        with (notes / "seen").open("a") as file:
            file.write(f"{frame[1]}-{frame[2]}\n")
        if frame[1] == "train":
            answer(frame, notes)


def answer(frame: Frame, notes: Path) -> None:
    number, _, _, *values = frame
    how = decode_request(values).solver
    if how == "die" or (how == "die-once" and not (notes / "died").exists()):
        (notes / "died").touch()
        os._exit(3)
    if how != "silent":
        write_frame(1, [number, "ok", b"payload", 1.0, 2.0, 1.5, 3, how])


if __name__ == "__main__":
    main()
