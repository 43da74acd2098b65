"""First accountant: delta(epsilon) by inverting the Laplace transform of the privacy loss (see loss.py).

delta = E (1 - e^(epsilon - L))+ = 1/(2 pi i) int E e^(s L) e^(-s epsilon) / (s (s + 1)) ds over any path from below to
above that crosses the real line in (0, 1/r). It crosses at the saddle point, so nothing cancels and small deltas are
as precise as large ones; and it bends to the right as a hyperbola, where e^(-s epsilon) ends it: in the hyperbola's
parameter the trapezoidal rule converges exponentially. Where L exceeds epsilon in the mean it is the complement that is
small: 1 - delta = E min(1, e^(epsilon - L)) is minus the same integral with a crossing in (-1, 0). [our choice of path]
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]

BEND = 0.5  # of the hyperbola: its branches leave the vertical by atan(1/2)
RANGE = 60.0  # the parameter's end, if the integrand does not end before
FIRST_POINTS, MOST_POINTS = 512, 1 << 17
PRECISION = 1e-12
NEGLIGIBLE = 60.0  # in logarithms
HALVINGS = 200


def invert_delta(samples: int, ratio: float, epsilon: float) -> float:
    """delta of `samples` samples at ratio = alpha^2 / eta. Raises ArithmeticError where the rule does not converge."""
    path = _Path(samples, ratio, epsilon)
    points, last = FIRST_POINTS, math.inf
    while points <= MOST_POINTS:
        value = path.integrate(points)
        if abs(value - last) <= PRECISION * abs(value):
            return 1 - value if path.is_complement else value
        points, last = 2 * points, value
    raise ArithmeticError(
        f"delta of {samples} samples at ratio {ratio:g}, epsilon {epsilon:g}: no convergence"
    )


class _Path:
    def __init__(self, samples: int, ratio: float, epsilon: float) -> None:
        self._shape, self._epsilon = samples / 2, epsilon
        self._ratio, self._q = ratio, ratio * ratio / (1 + ratio)
        self.is_complement = self._shape * self._q > epsilon  # the mean of L is k q / 2
        self._sign = -1 if self.is_complement else 1
        self._saddle = self._find_saddle()
        self._width = 1 / math.sqrt(self._get_curvature(self._saddle))
        self._top = float(self._get_exponent(np.array([self._saddle + 0j]))[0].real)
        self._end = self._find_end()

    def integrate(self, points: int) -> float:
        """By the trapezoidal rule on the upper half of the path; the lower is its mirror image."""
        v = np.linspace(0, self._end, points + 1)
        values = np.exp(self._get_exponent(self._get_point(v)) - self._top) * self._get_speed(v)
        values[0] /= 2
        return float(values.imag.sum()) * (self._end / points) / math.pi * math.exp(self._top)

    def _get_point(self, v: NDArray[np.float64]) -> Complex:
        point: Complex = self._saddle + self._width * (BEND * (np.cosh(v) - 1) + 1j * np.sinh(v))
        return point

    def _get_speed(self, v: NDArray[np.float64]) -> Complex:
        speed: Complex = self._width * (BEND * np.sinh(v) + 1j * np.cosh(v))
        return speed

    def _get_exponent(self, s: Complex) -> Complex:
        exponent: Complex = (
            -self._shape * _log1p(-self._q * s * (s + 1))
            - s * self._epsilon
            - np.log(self._sign * s)
            - np.log(s + 1)
        )
        return exponent

    def _find_saddle(self) -> float:
        """Where the exponent is lowest on (0, 1/r) or (-1, 0): its slope rises from minus to plus infinity there."""
        low, high = (-1.0, 0.0) if self.is_complement else (0.0, 1 / self._ratio)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            if not low < middle < high:
                break
            low, high = (middle, high) if self._get_slope(middle) < 0 else (low, middle)
        return (low + high) / 2

    def _get_slope(self, s: float) -> float:
        # 1 - q s (s+1) by its roots, as it is next to 0 near 1/r
        remainder = (1 - self._ratio * s) * (1 + self._ratio * s / (1 + self._ratio))
        return self._shape * self._q * (2 * s + 1) / remainder - self._epsilon - 1 / s - 1 / (s + 1)

    def _get_curvature(self, s: float) -> float:
        remainder = (1 - self._ratio * s) * (1 + self._ratio * s / (1 + self._ratio))
        first = self._q * (2 * s + 1) / remainder
        return self._shape * (2 * self._q / remainder + first * first) + 1 / s**2 + 1 / (s + 1) ** 2

    def _find_end(self) -> float:
        v = np.linspace(0, RANGE, 601)
        sizes = self._get_exponent(self._get_point(v)).real + np.log(np.abs(self._get_speed(v)))
        kept = np.flatnonzero(sizes > sizes[0] - NEGLIGIBLE)
        return float(v[min(int(kept[-1]) + 1, len(v) - 1)])


def _log1p(z: Complex) -> Complex:
    """log(1 + z), precise to its last digits where z is small: numpy's own is so only for real numbers."""
    x, y = z.real, z.imag
    square = x * (2 + x) + y * y  # |1 + z|^2 - 1
    result: Complex = np.log1p(np.maximum(square, -1.0)) / 2 + 1j * np.arctan2(y, 1 + x)
    return result
