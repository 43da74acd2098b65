"""What a payload loses: choosing its compression, and adding the lost part to the next update (error feedback).

Source: Karimireddy et al., "Error Feedback Fixes SignSGD" (1901.09847); the payload's format is section 10.2 of
docs/protocol.md. A miner's own business: a receiver sees only payloads.

In the simulation that training/local.py describes (4736 parameters; Newton; credits over those of three miners whose
deltas are sent as they are, divided by the same for dense 8 bits in the same setting):

    dense 4 bits 2383 B 0.93 | 1024 kept, 4 bits 2383 B 0.93 | 512 kept, 8 bits 2575 B 0.75 | dense 2 bits 1199 B 0.49
    1024 kept, 4 bits, feedback .9: 0.81 | 1024 kept, 2 bits, feedback .9: 0.56 | dense 2 bits, feedback .9: 0.55
    256 kept, 2 bits 911 B 0.53, with feedback .9: 0.50
    with one step of Newton, the default: 512 kept, 4 bits 2063 B 0.84 | 256 kept, 4 bits 1039 B 0.52
    dense 2 bits 1199 B 0.49 | 512 kept, 2 bits 1807 B 0.46 | 256 kept, 2 bits 911 B 0.46

So dense 8 bits where they fit, then dense 4 bits, then the largest entries in 4 bits. Feedback cost what it was to
gain: an update is paid for what it does now, and a residual is a direction two rounds old. It is off (decay 0),
and here for those who train slower or pay dearly for bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from training.exact.integers import DELTA_LIMIT, Integers
from training.payload import CHUNK, decode_payload, encode_payload, size_of_payload

DENSE = CHUNK
DECAY = 0.0
MAX_RESIDUALS = 8  # jobs whose residual is kept, of at most 8 MiB each


@dataclass(frozen=True, slots=True)
class Compression:
    """Entries kept of each chunk of 4096, and bits of each."""

    kept: int
    bits: int


@dataclass(frozen=True, slots=True)
class Packed:
    """A payload and the delta that its receivers will read."""

    payload: bytes
    delta: Integers


class Feedback:
    """The residual of every job: what its last payload lost."""

    def __init__(self, decay: float = DECAY) -> None:
        self._decay = decay
        self._residuals: OrderedDict[bytes, Integers] = OrderedDict()

    def get_residual(self, job: bytes, count: int) -> Integers:
        """What the last payload of the job lost, [count]; zeros if there was none."""
        residual = self._residuals.get(job)
        return residual if residual is not None and len(residual) == count else np.zeros(count, np.int64)

    def pack(self, job: bytes, delta: Integers, compression: Compression) -> Packed:
        """Pack the delta and the decayed residual of the last one; keep what the payload loses.

        Exactly: payload's delta + new residual = delta + round(decay * residual), clipped to +-2^28.
        """
        residual = self.get_residual(job, len(delta))
        wanted = delta + np.rint(self._decay * residual).astype(np.int64)
        wanted = np.clip(wanted, -DELTA_LIMIT, DELTA_LIMIT)
        payload = encode_payload(wanted, compression.kept, compression.bits)
        read = decode_payload(payload, len(delta))
        if self._decay:
            self._keep(job, wanted - read)
        return Packed(payload, read)

    def _keep(self, job: bytes, residual: Integers) -> None:
        self._residuals[job] = residual
        self._residuals.move_to_end(job)
        while len(self._residuals) > MAX_RESIDUALS:
            self._residuals.popitem(last=False)


def choose_compression(count: int, limit_bytes: int) -> Compression | None:
    """The compression that earned most within the limit for this many parameters; None if nothing fits."""
    for compression in (Compression(DENSE, 8), Compression(DENSE, 4)):
        if size_of_payload(count, compression.kept, compression.bits) <= limit_bytes:
            return compression
    low, high = 0, DENSE - 1  # of all, `low` fits
    while low < high:
        middle = (low + high + 1) // 2
        if size_of_payload(count, middle, 4) <= limit_bytes:
            low = middle
        else:
            high = middle - 1
    return Compression(low, 4) if low else None
