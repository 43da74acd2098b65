"""Learning rates as the chain writes them: mantissa * 2^-shift on the sum of gradients over a shard (section 4)."""

from fractions import Fraction

MAX_MANTISSA, MAX_SHIFT = 4095, 48
SMALLEST, LARGEST = Fraction(1, 2**MAX_SHIFT), MAX_MANTISSA

Rate = tuple[int, int]  # mantissa, shift


def convert_rate(rate: Fraction) -> Rate:
    """The (mantissa, shift) nearest to a rate, and of equals the one with the smallest shift.

    Raises ValueError for a rate that no pair comes near.
    """
    pairs = [(min(MAX_MANTISSA, max(1, round(rate * 2**shift))), shift) for shift in range(MAX_SHIFT + 1)]
    best = min(pairs, key=lambda pair: (abs(get_rate(pair) - rate), pair[1]))
    if not rate / 2 <= get_rate(best) <= 2 * rate:
        size = "small" if rate < get_rate(best) else "large"
        raise ValueError(f"{float(rate):g} is too {size}; expected {float(SMALLEST):.2g} to {LARGEST}")
    return best


def get_rate(pair: Rate) -> Fraction:
    """The rate that a pair stands for."""
    return Fraction(pair[0], 2 ** pair[1])
