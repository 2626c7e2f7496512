"""Small SVG plots for HTML reports, with selectable text and tooltips."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

from nerfcl.reports.style import GREY, INK, finite_range

FAINT = "#e6e6e6"
LETTERS = 12  # font size, in the plot's units

Box = tuple[float, float, float, float]
"""Left, top, right, bottom; y counts downwards."""


class Plot:
    """A plot with a y scale along its left side; all text is escaped.

    Args:
        size: width and height of the drawing, which is scaled to the width available on the page.
        area: plotting area.
        description: description for screen readers.
    """

    def __init__(self, size: tuple[int, int], area: Box, description: str) -> None:
        self.area = area
        self._span = 0.0, 1.0
        self._root = Element(
            "svg", {"viewBox": f"0 0 {size[0]} {size[1]}", "role": "img", "aria-label": description, "class": "plot"}
        )

    def scale_y(self, values: Iterable[float], *, room: float, most_ticks: int) -> None:
        """Set and draw a scale for all finite values, with a fraction `room` of their range as margin at both ends."""
        low, high = finite_range(values)
        self._span = low - room * (high - low), high + room * (high - low)
        for tick in round_ticks(*self._span, most_ticks):
            self.line((self.area[0], self.y(tick)), (self.area[2], self.y(tick)), FAINT)
            self.text(self.area[0] - 6, self.y(tick) + 0.35 * LETTERS, f"{tick:g}".replace("-", "−"), anchor="end")

    def x(self, fraction: float) -> float:
        """Map a fraction of the width to an x coordinate."""
        return self.area[0] + fraction * (self.area[2] - self.area[0])

    def y(self, value: float) -> float:
        """Map a value to a y coordinate."""
        low, high = self._span
        return self.area[3] - (value - low) / (high - low) * (self.area[3] - self.area[1])

    def line(
        self, start: tuple[float, float], end: tuple[float, float], colour: str, width: float = 1.0, dashes: str = ""
    ) -> None:
        """Draw a straight line; `dashes` are the lengths of dashes and gaps."""
        more = {"stroke-dasharray": dashes} if dashes else {}
        ends = dict(zip(("x1", "y1", "x2", "y2"), map(_short, (*start, *end)), strict=True))
        self._add("line", {**ends, "stroke": colour, "stroke-width": _short(width), **more})

    def path(self, points: Sequence[tuple[float, float]], colour: str, width: float, opacity: float = 1.0) -> None:
        """Draw a line through points, clipped to the area."""
        left, top, right, bottom = self.area
        window = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        inside = self._add("svg", {name: _short(value) for name, value in window.items()})
        inside.set("viewBox", " ".join(map(_short, window.values())))
        style = {"fill": "none", "stroke": colour, "stroke-width": _short(width), "stroke-linejoin": "round"}
        where = " ".join(f"{_short(x)},{_short(y)}" for x, y in points)
        SubElement(inside, "polyline", {**style, "stroke-opacity": _short(opacity), "points": where})

    def dot(self, x: float, y: float, radius: float, colour: str, *, hollow: bool = False, title: str = "") -> None:
        """Draw a dot; `title` is its tooltip."""
        where = {"cx": _short(x), "cy": _short(y), "r": _short(radius)}
        dot = self._add("circle", {**where, "fill": "white" if hollow else colour, "stroke": colour})
        dot.set("stroke-width", "2" if hollow else "0")
        if title:
            SubElement(dot, "title").text = title

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        anchor: str = "start",
        colour: str = GREY,
    ) -> None:
        """Write text with its baseline at y."""
        where = {"x": _short(x), "y": _short(y), "text-anchor": anchor, "fill": colour, "font-size": str(LETTERS)}
        # A white outline sets text off from lines behind it.
        rim = {"stroke": "white", "stroke-width": "3", "paint-order": "stroke", "stroke-linejoin": "round"}
        self._add("text", {**where, **rim}).text = text

    def name(self, text: str, x: float, y: float, taken: list[Box], lines: Sequence[Box] = ()) -> None:
        """Write a name next to a point where it covers nothing, or leave it out if there is no room.

        Args:
            text: the name; shortened to 26 characters.
            x, y: the point.
            taken: boxes that must not be covered; the box of the name is added.
            lines: boxes that may be covered if there is no other room.
        """
        shown = text if len(text) <= 26 else f"{text[:25]}…"
        boxes = [box for box in _beside(x, y, width_of(shown)) if _within(box, self.area)]
        for obstacles in ([*taken, *lines], taken):
            free = [box for box in boxes if not any(_overlap(box, other) for other in obstacles)]
            if free:
                left, top, _, bottom = free[0]
                self.text(left, (top + bottom) / 2 + 0.35 * LETTERS, shown, colour=INK)
                taken.append(free[0])
                return

    def markup(self) -> Markup:
        """Return the drawing as markup for a page."""
        return Markup(tostring(self._root, encoding="unicode"))

    def _add(self, tag: str, attributes: dict[str, str]) -> Element:
        return SubElement(self._root, tag, attributes)


def width_of(text: str) -> float:
    """Estimate the width of a text generously, since its font is unknown."""
    return 0.58 * LETTERS * len(text)


def around(x: float, y: float, reach: float) -> Box:
    """Return the square of half-width `reach` around a point."""
    return x - reach, y - reach, x + reach, y + reach


def round_ticks(low: float, high: float, most: int) -> list[float]:
    """List multiples of 1, 2 or 5 times a power of ten between two values, so that they span at most `most` steps."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(step for factor in (1, 2, 5, 10) if (high - low) / (step := factor * power) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 9) for k in range(first, last + 1)]


def _beside(x: float, y: float, width: float) -> Iterator[Box]:
    """Yield boxes for a name of this width next to a point, the best places first."""
    for left, middle in (
        (x + 9, y),
        (x - 9 - width, y),
        *((x - width / 2, y + away) for away in (-16, 16)),
        *((x + side, y + away) for away in (-14, 14) for side in (6, -6 - width)),
    ):
        yield left, middle - 0.6 * LETTERS, left + width, middle + 0.6 * LETTERS


def _within(box: Box, area: Box) -> bool:
    return box[0] >= area[0] and box[1] >= area[1] and box[2] <= area[2] and box[3] <= area[3]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
