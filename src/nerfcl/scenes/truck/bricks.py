"""Parts of a toy model: bricks, extruded and turned pieces, hoses.

Lengths are in studs (the pitch of the brick grid): a brick is 1.2 studs high, a plate 0.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Material = Literal["plastic", "rubber", "metal", "glass"]
Axis = Literal["x", "y", "z"]
Span = tuple[float, float]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Brick:
    """Axis-aligned block: `position` is its lowest corner, `size` its extent, in studs."""

    position: Point
    size: Point
    colour: str
    material: Material = "plastic"
    studs: bool = False


@dataclass(frozen=True)
class Prism:
    """Convex polygon extruded along `axis` over `span`.

    `outline` holds counter-clockwise (u, v) points, where (u, v) are the two axes
    that follow `axis` cyclically: (y, z) for x, (z, x) for y, (x, y) for z.
    """

    outline: tuple[Span, ...]
    axis: Axis
    span: Span
    colour: str
    material: Material = "plastic"


@dataclass(frozen=True)
class Turned:
    """Solid of revolution: `profile` lists (radius, offset along `axis` from `base`)."""

    base: Point
    axis: Axis
    profile: tuple[Span, ...]
    colour: str
    material: Material = "plastic"


@dataclass(frozen=True)
class Tube:
    """Round hose of the given radius along a smooth curve through `points`."""

    points: tuple[Point, ...]
    radius: float
    colour: str
    material: Material = "rubber"


Part = Brick | Prism | Turned | Tube


def box(x: Span, y: Span, z: Span, colour: str, *, studs: bool = False, material: Material = "plastic") -> Brick:
    """Make a brick from three spans; the ends of a span may come in any order (for mirrored sides)."""
    (x0, x1), (y0, y1), (z0, z1) = sorted(x), sorted(y), sorted(z)
    return Brick((x0, y0, z0), (x1 - x0, y1 - y0, z1 - z0), colour, material, studs)


def rod(
    base: Point, axis: Axis, radius: float, length: float, colour: str,
    material: Material = "plastic",
) -> Turned:  # fmt: skip
    """Make a round bar with slightly bevelled edges; a negative length runs against the axis."""
    edge = min(0.06, radius / 4, abs(length) / 4)
    inner, end = math.copysign(edge, length), length
    profile = (
        (0.0, 0.0), (radius - edge, 0.0), (radius, inner),
        (radius, end - inner), (radius - edge, end), (0.0, end),
    )  # fmt: skip
    return Turned(base, axis, profile, colour, material)


def beam(start: Span, end: Span, half_widths: Span, x: Span, colour: str) -> Prism:
    """Make a tapered bar between two (y, z) points, as wide as the span x."""
    length = math.dist(start, end)
    v, w = -(end[1] - start[1]) / length, (end[0] - start[0]) / length
    a, b = half_widths
    outline = (
        (start[0] - v * a, start[1] - w * a), (end[0] - v * b, end[1] - w * b),
        (end[0] + v * b, end[1] + w * b), (start[0] + v * a, start[1] + w * a),
    )  # fmt: skip
    return Prism(outline, "x", (min(x), max(x)), colour)


def ring_sector(
    centre: Span, radii: Span, degrees: Span, x: Span, colour: str, material: Material = "plastic"
) -> Prism:
    """Make one straight piece of a ring around the x axis; `centre` is (y, z)."""
    a, b = (math.radians(angle) for angle in degrees)
    (cy, cz), (inner, outer) = centre, radii
    corners = ((inner, a), (outer, a), (outer, b), (inner, b))
    outline = tuple((cy + r * math.cos(t), cz + r * math.sin(t)) for r, t in corners)
    return Prism(outline, "x", (min(x), max(x)), colour, material)


def lamp(base: Point, axis: Axis, radius: float, reach: float, colour: str) -> list[Part]:
    """Make a round lamp: a coloured lens in a metal ring."""
    lens = list(base)
    lens["xyz".index(axis)] += 0.7 * reach
    return [
        rod(base, axis, radius, reach, "silver", "metal"),
        rod((lens[0], lens[1], lens[2]), axis, 0.78 * radius, 0.5 * reach, colour, "glass"),
    ]
