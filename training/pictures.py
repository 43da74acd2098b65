"""Pictures as SVG text, of what reports and tutorials show: curves, and the entries of a matrix. Needs nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 74, 20, 40, 48
INK, GRID = "#444", "#ddd"
COLOURS = ("#1f6feb", "#d97706", "#16a34a", "#b91c1c", "#7c3aed", "#0f766e")
CELL = 12

Points = Sequence[tuple[float, float]]


def draw_curves(
    title: str,
    curves: Mapping[str, Points],
    labels: tuple[str, str],
    *,
    log_x: bool = False,
    log_y: bool = False,
    level: tuple[str, float] | None = None,
    dots: Points = (),
) -> str:
    """Curves by their names over common axes, a dashed `level` with its name, and some points as `dots`.

    `labels` are those of the axes. On a logarithmic axis every number must be above 0.
    """
    everything = [point for points in curves.values() for point in points]
    if not everything:
        raise ValueError("curves: at least one point expected, there is none")
    if len(curves) > len(COLOURS):
        raise ValueError(f"curves: at most {len(COLOURS)} expected, got {len(curves)}")
    across = _Axis([x for x, _ in everything], log_x, LEFT, WIDTH - RIGHT)
    heights = [y for _, y in everything] + ([level[1]] if level else [])
    up = _Axis(heights if log_y else [0.0, *heights], log_y, HEIGHT - BOTTOM, TOP)
    parts = [_open(WIDTH, HEIGHT, title), *_draw_axes(across, up, labels)]
    if level:
        y = up.place(level[1])
        parts.append(f'<path d="M{LEFT},{y} H{WIDTH - RIGHT}" stroke="{INK}" stroke-dasharray="6 4"/>')
        parts.append(f'<text x="{WIDTH - RIGHT}" y="{y - 5}" text-anchor="end">{escape(level[0])}</text>')
    for colour, (name, points) in zip(COLOURS, curves.items(), strict=False):
        path = " ".join(f"{across.place(x)},{up.place(y)}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_name_curve(name, colour, list(curves).index(name)))
    parts += [
        f'<circle cx="{across.place(x)}" cy="{up.place(y)}" r="4" fill="{COLOURS[1]}"/>' for x, y in dots
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def draw_matrix(title: str, rows: Sequence[Sequence[float]], names: Sequence[str] = ()) -> str:
    """A matrix as squares, the darker the larger; `names` of its columns stand above them, turned."""
    head = 30 + (80 if names else 10)
    width, height = 40 + CELL * len(rows[0]), head + CELL * len(rows) + 10
    highest = max(max(row) for row in rows) or 1.0
    parts = [_open(max(width, 260), height, title)]
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            shade = round(255 * (1 - min(1.0, max(0.0, value / highest)) ** 0.5))
            parts.append(
                f'<rect x="{20 + CELL * j}" y="{head + CELL * i}" width="{CELL}" height="{CELL}"'
                f' fill="rgb({shade},{shade},255)"/>'
            )
    for j, name in enumerate(names):
        x, y = 20 + CELL * j + CELL - 3, head - 4
        parts.append(
            f'<text x="{x}" y="{y}" transform="rotate(-60 {x} {y})" font-size="10">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Axis:
    """Where a number stands between two ends of the picture."""

    def __init__(self, values: Sequence[float], is_log: bool, start: float, end: float) -> None:
        if is_log and min(values) <= 0:
            raise ValueError(f"numbers above 0 expected on a logarithmic axis, got {min(values)}")
        self.low, self.high, self._is_log = min(values), max(values), is_log
        if self.low == self.high:
            self.high = self.low + 1.0
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        low, high = self._scale(self.low), self._scale(self.high)
        share = (self._scale(value) - low) / (high - low)
        return round(self._start + share * (self._end - self._start), 1)

    def _scale(self, value: float) -> float:
        return math.log10(value) if self._is_log else value


def _open(width: int, height: int, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
        f' font-size="13" fill="{INK}"><rect width="{width}" height="{height}" fill="#fff"/>'
        f'<text x="20" y="22" font-weight="bold">{escape(title)}</text>'
    )


def _draw_axes(across: _Axis, up: _Axis, labels: tuple[str, str]) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    return [
        f'<path d="M{LEFT},{TOP} V{bottom} H{right}" fill="none" stroke="{INK}"/>',
        f'<text x="{LEFT - 6}" y="{TOP + 5}" text-anchor="end">{up.high:.3g}</text>',
        f'<text x="{LEFT - 6}" y="{bottom + 5}" text-anchor="end">{up.low:.3g}</text>',
        f'<text x="{LEFT}" y="{bottom + 18}">{across.low:.4g}</text>',
        f'<text x="{right}" y="{bottom + 18}" text-anchor="end">{across.high:.4g}</text>',
        f'<text x="{(LEFT + right) / 2}" y="{bottom + 34}" text-anchor="middle">{escape(labels[0])}</text>',
        f'<text x="16" y="{(TOP + bottom) / 2}" text-anchor="middle"'
        f' transform="rotate(-90 16 {(TOP + bottom) / 2})">{escape(labels[1])}</text>',
    ]


def _name_curve(name: str, colour: str, place: int) -> str:
    y = TOP + 16 + 17 * place
    x = WIDTH - RIGHT - 8
    return f'<text x="{x}" y="{y}" text-anchor="end" fill="{colour}">{escape(name)}</text>'
