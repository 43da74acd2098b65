"""What a trainer of a higher rank does all day: compute its part of whatever rank 0 asks.

It knows neither jobs nor blobs: rank 0 brings the samples. It ends with rank 0 or with the node, whichever is first.
"""

from __future__ import annotations

import logging
import os
import threading

from node.trainer.loop import INPUT, LOST, LOWER
from training.group import DeviceChoice, DeviceMissing, GroupLost, Place, join_group
from training.shared import follow

log = logging.getLogger(__name__)


def run_follower(place: Place, device: DeviceChoice) -> None:
    """Serve until the group ends."""
    import torch

    torch.set_num_threads(1)
    os.nice(LOWER)
    if place.meeting:  # started by a node; under torchrun the input may be anything
        threading.Thread(target=_end_with_input, name="input", daemon=True).start()
    try:
        follow(join_group(place, device))
    except GroupLost as error:
        log.error("rank %d: %s", place.rank, error)
        os._exit(LOST)  # at once: threads of a broken group may not end
    except DeviceMissing as error:  # rank 0 tells the node
        log.error("rank %d: %s", place.rank, error)
        threading.Event().wait()


def _end_with_input() -> None:
    """End the process as soon as the node is gone, whatever it is doing."""
    while os.read(INPUT, 1):
        pass
    os._exit(0)
