"""A picture of a job's loss over the blocks, as SVG: what settlements left of it, and which of them paid updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 36, 44
INK, CURVE, PAID, TARGET = "#444", "#1f6feb", "#d97706", "#16a34a"


@dataclass(frozen=True, slots=True)
class Curve:
    """Heights and losses of a job, what each settlement paid to updates, in coins, and its target."""

    title: str
    heights: Sequence[int]
    losses: Sequence[float]
    paid: Sequence[float]
    target: float | None


def draw_picture(curve: Curve) -> str:
    """The picture: a line through the losses, a dot for every settlement that paid, a dashed line for the target."""
    known = [*curve.losses, *([] if curve.target is None else [curve.target])]
    low, high = 0.0, max(known) * 1.05
    first, last = curve.heights[0], max(curve.heights[-1], curve.heights[0] + 1)

    def place(height: float, loss: float) -> tuple[float, float]:
        x = LEFT + (height - first) / (last - first) * (WIDTH - LEFT - RIGHT)
        return round(x, 1), round(TOP + (high - loss) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    points = [place(height, loss) for height, loss in zip(curve.heights, curve.losses, strict=True)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        f' font-size="13" fill="{INK}"><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="22" font-weight="bold">{escape(curve.title)}: loss on the judging split</text>',
        *draw_scales(low, high, first, last),
        *draw_target(curve.target, place(first, curve.target or 0)[1]),
        f'<polyline points="{" ".join(f"{x},{y}" for x, y in points)}" fill="none" stroke="{CURVE}"'
        ' stroke-width="2"/>',
        *(
            f'<circle cx="{x}" cy="{y}" r="4" fill="{PAID}"><title>{paid:.2f} coins</title></circle>'
            for (x, y), paid in zip(points, curve.paid, strict=True)
            if paid
        ),
        f'<circle cx="{WIDTH - 190}" cy="18" r="4" fill="{PAID}"/>',
        f'<text x="{WIDTH - 180}" y="22">updates were paid here</text></svg>',
    ]
    return "\n".join(parts) + "\n"


def draw_scales(low: float, high: float, first: int, last: int) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    return [
        f'<path d="M{LEFT},{TOP} V{bottom} H{right}" fill="none" stroke="{INK}"/>',
        f'<text x="{LEFT - 8}" y="{TOP + 5}" text-anchor="end">{high:.3g}</text>',
        f'<text x="{LEFT - 8}" y="{bottom + 5}" text-anchor="end">{low:.3g}</text>',
        f'<text x="{LEFT}" y="{bottom + 20}">{first}</text>',
        f'<text x="{right}" y="{bottom + 20}" text-anchor="end">{last}</text>',
        f'<text x="{(LEFT + right) / 2}" y="{bottom + 34}" text-anchor="middle">height of the chain</text>',
    ]


def draw_target(target: float | None, y: float) -> list[str]:
    if target is None:
        return []
    return [
        f'<path d="M{LEFT},{y} H{WIDTH - RIGHT}" stroke="{TARGET}" stroke-dasharray="6 4"/>',
        f'<text x="{LEFT - 8}" y="{y + 5}" text-anchor="end" fill="{TARGET}">{target:.3g}</text>',
    ]
