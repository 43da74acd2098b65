"""A curve in a terminal: braille dots with a scale at the left, and a dashed line for a target."""

from collections.abc import Sequence

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bit of the dot in row 0..3, column 0..1
BRAILLE = 0x2800
ROWS, COLUMNS = 4, 2  # dots of a character
LABEL_WIDTH = 9


def draw_curve(values: Sequence[float], width: int, height: int, target: float | None = None) -> list[str]:
    """Lines of text, `height` of them, at most `width` wide; the newest value is at the right end."""
    plot_width = max(8, width - LABEL_WIDTH - 1)
    if not values:
        return [" " * LABEL_WIDTH + "|"] * height
    low, high = find_range(values, target)
    dots = [[0] * plot_width for _ in range(height)]
    points = [(x, to_row(value, low, high, height)) for x, value in spread(values, plot_width * COLUMNS)]
    for (x0, y0), (x1, y1) in zip(points, points[1:] or points, strict=False):
        draw_line(dots, x0, y0, x1, y1)
    target_line = None if target is None else to_row(target, low, high, height) // ROWS
    return [
        format_label(line, height, low, high, target_line, target) + format_dots(row, line == target_line)
        for line, row in enumerate(dots)
    ]


def find_range(values: Sequence[float], target: float | None) -> tuple[float, float]:
    known = [*values, *([] if target is None else [target])]
    low, high = min(known), max(known)
    margin = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return low - margin, high + margin


def spread(values: Sequence[float], columns: int) -> list[tuple[int, float]]:
    """Values and the dot column each belongs to, over the whole width."""
    if len(values) == 1:
        return [(0, values[0])]
    return [(i * (columns - 1) // (len(values) - 1), value) for i, value in enumerate(values)]


def to_row(value: float, low: float, high: float, height: int) -> int:
    rows = height * ROWS
    return min(rows - 1, max(0, round((high - value) / (high - low) * (rows - 1))))


def draw_line(dots: list[list[int]], x0: int, y0: int, x1: int, y1: int) -> None:
    steps = max(abs(x1 - x0), abs(y1 - y0), 1)
    for step in range(steps + 1):
        x = x0 + round((x1 - x0) * step / steps)
        y = y0 + round((y1 - y0) * step / steps)
        dots[y // ROWS][x // COLUMNS] |= DOTS[y % ROWS][x % COLUMNS]


def format_dots(row: list[int], is_target: bool) -> str:
    empty = "╌" if is_target else " "
    return "".join(chr(BRAILLE + bits) if bits else empty for bits in row).rstrip()


def format_label(
    line: int, height: int, low: float, high: float, target_line: int | None, target: float | None
) -> str:
    if line == target_line and target is not None:
        label = f"{target:.4g} ▸"
    elif line in (0, height - 1):
        label = f"{high if line == 0 else low:.4g}  "
    else:
        label = ""
    return f"{label:>{LABEL_WIDTH}}│"
