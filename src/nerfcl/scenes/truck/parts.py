"""The built-in scene: a toy truck built from studded bricks, an original design.

This module only *describes* the model; `render` turns it into pixels.

Conventions: lengths are in studs (the pitch of the brick grid), x points to the
truck's right, y to its front, z up, and the ground is z = 0. A brick is 1.2 studs
high, a plate 0.4. `STUD_LENGTH` and `MODEL_CENTRE` map studs to world units.

The two flanks differ on purpose (red and yellow with ladder, toolbox and fuel tank
on the right; blue and white with crane, hoses and round lamps on the left), because
the experiments split the cameras by the sign of x, and with a symmetric truck a model
could render one half by remembering only the other.
"""

from __future__ import annotations

import itertools
import math

from nerfcl.scenes.truck.bricks import (
    Axis,
    Part,
    Point,
    Prism,
    Span,
    Tube,
    Turned,
    beam,
    box,
    lamp,
    ring_sector,
    rod,
)

STUD_LENGTH = 0.088  # world units per stud
MODEL_CENTRE: Point = (0.0, 0.0, 5.5)  # in studs; becomes the world origin

# sRGB hexadecimal values.
PALETTE: dict[str, str] = {
    "red": "C8141B", "yellow": "FFD21E", "orange": "F57A1F", "amber": "FFA826",
    "blue": "0A48A6", "azure": "2E93DC", "white": "F1F0EA", "cream": "FFEFB8",
    "silver": "C9CCCF", "grey": "8E9396", "dark": "4A4F54", "asphalt": "63686D",
    "black": "1B1D20", "rubber": "17181A", "glass": "0D2C5E", "green": "2C8C3C",
    "lime": "93C83D", "tan": "DCC38C", "brown": "6E4224", "purple": "7241A8",
    "teal": "0B9A98", "pink": "EA6C9E",
}  # fmt: skip


def _flank_colours(side: int) -> tuple[str, str]:
    """Return the main and second colour of the right (+1) or left (-1) flank."""
    return ("red", "yellow") if side > 0 else ("blue", "white")


def ground() -> list[Part]:
    """Build the 14 x 24 base: smooth road tiles between two studded verges."""
    parts: list[Part] = []
    for row in range(6):
        y = (4.0 * row - 12, 4.0 * row - 8)
        for column in range(4):
            x = (2.0 * column - 4, 2.0 * column - 2)
            shade = "asphalt" if (row + column) % 2 else "dark"
            parts.append(box(x, y, (0, 0.4), shade))
        odd = row % 2 == 1
        parts += [
            box((4, 5), y, (0, 0.4), "yellow" if odd else "asphalt"),
            box((-5, -4), y, (0, 0.4), "asphalt" if odd else "white"),
            box((5, 7), y, (0, 0.4), "tan" if odd else "orange", studs=True),
            box((-7, -5), y, (0, 0.4), "green" if odd else "lime", studs=True),
        ]
    for y in (-9.0, 0.0, 9.0):
        cone = ((0.0, 0.0), (0.42, 0.0), (0.3, 0.5), (0.0, 0.5))
        middle = ((0.0, 0.0), (0.3, 0.0), (0.2, 0.4), (0.0, 0.4))
        tip = ((0.0, 0.0), (0.2, 0.0), (0.08, 0.5), (0.0, 0.5))
        parts += [
            box((5.5, 6.5), (y - 0.5, y + 0.5), (0.6, 0.75), "red"),
            Turned((6, y, 0.75), "z", cone, "red"),
            Turned((6, y, 1.25), "z", middle, "white"),
            Turned((6, y, 1.65), "z", tip, "red"),
        ]
    for y, petal in ((-10.5, "pink"), (-4.5, "yellow"), (3.5, "white"), (7.5, "pink")):
        parts += [
            rod((-6.5, y, 0.4), "z", 0.12, 1.0, "green"),
            rod((-6.5, y, 1.3), "z", 0.45, 0.25, petal),
            rod((-6.5, y, 1.5), "z", 0.2, 0.2, "amber"),
            box((-6, -5), (y, y + 1), (0.4, 0.8), "green", studs=True),
        ]
    return parts


def wheel(x: Span, y: float, z: float, radius: float, hub_colour: str) -> list[Part]:
    """Build a wheel with treads; its metal rim is at the x[1] end."""
    inside, outside = x
    outward = math.copysign(1.0, outside - inside)
    width, r = outside - inside, radius - 0.12
    tyre = (
        (0.0, 0.0), (0.8 * r, 0.0), (0.94 * r, 0.06 * width), (r, 0.2 * width),
        (r, 0.8 * width), (0.94 * r, 0.94 * width), (0.8 * r, width),
        (0.64 * r, width), (0.6 * r, 0.9 * width), (0.0, 0.9 * width),
    )  # fmt: skip
    rim = (
        (0.6 * r, 0.0), (0.6 * r, 0.28 * outward), (0.54 * r, 0.28 * outward),
        (0.46 * r, 0.08 * outward), (0.0, 0.08 * outward),
    )  # fmt: skip
    face = inside + 0.9 * width
    parts: list[Part] = [
        Turned((inside, y, z), "x", tyre, "rubber", "rubber"),
        Turned((face, y, z), "x", rim, "silver", "metal"),
        rod((face, y, z), "x", 0.22 * r, 0.34 * outward, hub_colour),
    ]
    for index in range(6):
        angle = math.radians(60 * index)
        nut = (face, y + 0.36 * r * math.cos(angle), z + 0.36 * r * math.sin(angle))
        parts.append(rod(nut, "x", 0.08 * r, 0.2 * outward, hub_colour))
    middle = inside + 0.5 * width
    for index in range(36):
        half = (inside + 0.12 * width, middle) if index % 2 else (middle, outside - 0.12 * width)
        sector = (10.0 * index, 10.0 * index + 9)
        parts.append(ring_sector((y, z), (0.93 * r, radius), sector, half, "rubber", "rubber"))
    return parts


def chassis() -> list[Part]:
    """Build the frame, axles, six wheels, front wheel arches, bumper and mud flaps."""
    parts: list[Part] = [
        box((-2, 2), (-10.8, 10.8), (2.3, 3.0), "dark"),
        box((-2, 2), (-10.6, 1.8), (3.0, 4.0), "black"),
        box((-4, 4), (1.4, 3.0), (3.0, 3.4), "dark", studs=True),
        box((-3.6, 3.6), (-11.2, -10.8), (2.3, 3.1), "silver", material="metal"),
    ]
    for y in (8.5, -4.6, -8.4):
        parts.append(rod((-2.8, y, 2.05), "x", 0.4, 5.6, "grey", "metal"))
        for side in (1, -1):
            hub = "yellow" if side > 0 else "azure"
            parts += wheel((2.65 * side, 4.1 * side), y, 2.05, 1.65, hub)
    for side in (1, -1):
        main, second = _flank_colours(side)
        across = (2.5 * side, 4.2 * side)
        for step in range(10):
            sector = (15.0 + 15 * step, 30.0 + 15 * step)
            parts.append(ring_sector((8.5, 2.05), (1.82, 2.12), sector, across, main))
        parts += [
            box((2.7 * side, 4.1 * side), (-10.6, -10.4), (1.9, 4.0), "black", material="rubber"),
            box((2.0 * side, 3.6 * side), (3.3, 6.2), (2.3, 3.0), "dark"),
            box((3.0 * side, 4.3 * side), (3.4, 6.1), (2.0, 2.3), "silver", material="metal"),
            box((3.2 * side, 4.3 * side), (3.6, 5.9), (1.2, 1.45), "silver", material="metal"),
            box((3.3 * side, 3.6 * side), (4.6, 4.9), (1.2, 2.3), "dark"),
        ]
        for index in range(4):
            stripe = ("black" if side > 0 else main) if index % 2 else second
            x = (index * side, (index + 1) * side)
            parts.append(box(x, (10.8, 11.8), (1.4, 2.6), stripe, studs=True))
    return parts


def cab() -> list[Part]:
    """Build the hood, grille, doors, windows and roof; red on the right, blue on the left."""
    parts: list[Part] = [
        box((-1, 1), (7.0, 9.6), (4.2, 5.4), "white", studs=True),
        Prism(((9.6, 4.2), (10.6, 4.2), (10.6, 4.7), (9.6, 5.4)), "x", (-1, 1), "white"),
        box((-1, 1), (2.9, 6.2), (8.2, 8.6), "white", studs=True),
        box((-1, 1), (3.0, 3.5), (5.8, 8.2), "white"),
        box((-2.4, 2.4), (10.6, 10.7), (3.0, 4.6), "black"),
        Prism(((3.4, 5.8), (6.85, 5.8), (6.0, 8.2), (3.4, 8.2)), "x", (-3.8, 3.8), "glass", "glass"),
        Prism(((6.1, 8.2), (7.1, 8.0), (7.1, 8.2), (6.1, 8.6)), "x", (-3.8, 3.8), "dark"),
        box((-3.4, 3.4), (5.5, 6.0), (8.8, 9.05), "black"),
    ]
    for index in range(9):
        x = -2.1 + 0.525 * index
        bar = (x - 0.12, x + 0.12)
        parts.append(box(bar, (10.65, 10.85), (2.9, 4.6), "silver", material="metal"))
    for x in (-2.8, -1.4, 0.0, 1.4, 2.8):
        parts += lamp((x, 5.9, 9.2), "y", 0.42, 0.35, "amber")
    for side in (1, -1):
        parts += _cab_side(side)
    return parts


def _cab_side(side: int) -> list[Part]:
    main, second = _flank_colours(side)
    inner, outer = 1.0 * side, 4.0 * side
    parts: list[Part] = [
        box((0, 2.5 * side), (6.4, 10.6), (3.0, 4.2), main),
        box((inner, 3.0 * side), (7.0, 9.6), (4.2, 5.4), main, studs=True),
        Prism(
            ((9.6, 4.2), (10.6, 4.2), (10.6, 4.7), (9.6, 5.4)),
            "x", (min(inner, 3.0 * side), max(inner, 3.0 * side)), main,
        ),
        box((3.0 * side, outer), (6.4, 7.0), (4.2, 5.4), main, studs=True),
        box((0, outer), (3.0, 6.4), (3.0, 4.2), main),
        box((0, outer), (3.0, 4.9), (4.2, 5.4), main),
        box((0, outer), (4.9, 7.0), (4.2, 5.4), main),
        box((0, outer), (3.0, 7.0), (5.4, 5.8), second),
        box((inner, outer), (3.0, 3.5), (5.8, 7.0), main),
        box((inner, outer), (3.0, 3.5), (7.0, 8.2), main),
        box((3.6 * side, outer), (4.85, 5.15), (5.8, 8.2), main),
        beam((6.75, 5.8), (5.9, 8.2), (0.2, 0.2), (3.5 * side, outer), main),
        box((inner, outer), (2.9, 6.2), (8.2, 8.6), main, studs=True),
        box((outer, 4.14 * side), (3.9, 6.1), (3.3, 5.2), second),
        box((4.14 * side, 4.26 * side), (4.1, 4.7), (4.7, 4.9), "black"),
        # Lamp pod, lamp carrier and mirror.
        box((2.5 * side, 4.1 * side), (10.3, 10.9), (2.8, 4.1), second),
        *lamp((3.3 * side, 10.9, 3.45), "y", 0.52, 0.25, "cream"),
        box((2.0 * side, 2.4 * side), (5.5, 6.0), (8.6, 8.8), "black"),
        rod((3.9 * side, 6.5, 6.1), "x", 0.1, 1.0 * side, "black"),
        box((4.6 * side, 5.2 * side), (6.35, 6.65), (5.9, 7.5), main),
        box((4.68 * side, 5.12 * side), (6.3, 6.36), (6.0, 7.4), "silver", material="metal"),
    ]  # fmt: skip
    beacon = ((0.0, 0.0), (0.55, 0.0), (0.55, 0.5), (0.42, 0.8), (0.18, 0.95), (0.0, 0.95))
    parts += [
        rod((2.5 * side, 3.9, 8.6), "z", 0.7, 0.3, "black"),
        Turned((2.5 * side, 3.9, 8.9), "z", beacon, "amber" if side > 0 else "azure", "glass"),
    ]
    return parts


# One character per plate; rows from top to bottom, characters along +y (sides) or +x (tail).
RIGHT_PANEL = ("RRRYYYRRRYYYR", "YRRRYYYRRRYYY", "YYRRRYYYRRRYY",
               "YYRRRYYYRRRYY", "YRRRYYYRRRYYY", "RRRYYYRRRYYYR")  # fmt: skip
LEFT_PANEL = ("WWBBBWWBBBWWB",) * 6
TAIL_PANEL = ("KWKWKWKW", "WKWKWKWK") * 3
MOSAIC_COLOURS = {"R": "red", "Y": "yellow", "B": "blue", "W": "white", "K": "black"}


def _mosaic(rows: tuple[str, ...], along: Axis, start: float, depth: Span, top: float) -> list[Part]:
    """Build a wall of plates; neighbours of one colour in a row become one longer plate."""
    parts: list[Part] = []
    for index, row in enumerate(rows):
        z = (top - 0.4 * (index + 1), top - 0.4 * index)
        first = 0
        for last in range(1, len(row) + 1):
            if last < len(row) and row[last] == row[first]:
                continue
            run = (start + first, start + last)
            x, y = (depth, run) if along == "y" else (run, depth)
            parts.append(box(x, y, z, MOSAIC_COLOURS[row[first]]))
            first = last
    return parts


def bed() -> list[Part]:
    """Build the loading bed: floor, patterned walls, studded rails and tail lamps."""
    parts: list[Part] = []
    for y in (-11.0, -6.0, -2.0):
        length = 5.0 if y == -11 else 4.0
        for x in (-4.0, 0.0):
            parts.append(box((x, x + 4), (y, y + length), (4.0, 4.4), "grey", studs=True))
    parts += _mosaic(RIGHT_PANEL, "y", -11, (3, 4), 6.8)
    parts += _mosaic(LEFT_PANEL, "y", -11, (-4, -3), 6.8)
    parts += _mosaic(tuple(row[1:7] for row in TAIL_PANEL), "x", -3, (-11, -10), 6.8)
    for side in (1, -1):
        main, second = _flank_colours(side)
        rail = second if side < 0 else main
        parts += [
            box((0, 3 * side), (1, 2), (4.4, 5.6), main),
            box((0, 3 * side), (1, 2), (5.6, 6.8), second),
            box((0, 4 * side), (1, 2), (6.8, 8.0), main, studs=True),
            box((0, 3 * side), (-11, -10), (6.8, 7.2), rail, studs=True),
            *lamp((3.5 * side, -11, 4.9), "y", 0.36, -0.25, "red"),
            *lamp((3.5 * side, -11, 5.9), "y", 0.36, -0.25, "amber"),
        ]
        for y in (-11.0, -7.0, -3.0):
            parts.append(box((3 * side, 4 * side), (y, y + 4), (6.8, 7.2), rail, studs=True))
    return parts


def right_equipment() -> list[Part]:
    """Build the fuel tank, toolbox, ladder and exhaust stack."""
    parts: list[Part] = [
        rod((3.1, -0.4, 2.45), "y", 0.98, 3.0, "silver", "metal"),
        rod((3.1, 2.6, 2.45), "y", 0.5, 0.2, "red"),
        box((2.0, 4.2), (-2.7, -0.7), (1.5, 3.3), "orange"),
        box((2.0, 4.25), (-2.75, -0.65), (3.3, 3.6), "dark"),
        box((4.2, 4.3), (-1.95, -1.45), (2.9, 3.4), "silver", material="metal"),
        rod((3.1, 2.3, 3.4), "z", 0.42, 6.0, "silver", "metal"),
        rod((3.1, 2.3, 5.4), "z", 0.58, 2.4, "dark", "metal"),
        rod((3.1, 2.3, 9.3), "z", 0.5, 0.5, "black", "metal"),
    ]
    for y in (0.2, 1.8):
        parts.append(rod((3.1, y, 2.45), "y", 1.04, 0.3, "yellow"))
    for y in (-10.3, -8.8):
        parts.append(box((4.02, 4.3), (y, y + 0.25), (3.9, 9.0), "white"))
    for rung in range(7):
        parts.append(rod((4.16, -10.2, 4.3 + 0.7 * rung), "y", 0.12, 1.5, "white"))
    return parts


def left_equipment() -> list[Part]:
    """Build the spare wheel, air tanks, hoses and round lamps."""
    parts: list[Part] = wheel((-3.0, -4.0), 1.0, 2.25, 1.4, "red")
    parts.append(rod((-1.9, 1.0, 2.25), "x", 0.5, -1.2, "dark"))
    parts += [
        rod((-3.2, -2.6, 3.25), "y", 0.55, 2.1, "white"),
        rod((-3.2, -2.6, 2.0), "y", 0.55, 2.1, "azure"),
        box((-2.6, -1.9), (-2.2, -0.9), (1.7, 3.6), "dark"),
    ]
    for y in (-9.8, -7.3, -4.8, -2.3, 0.2):
        parts.append(rod((-4.0, y, 4.2), "x", 0.26, -0.2, "amber", "glass"))
    for y in (-9.0, -6.0, -3.0):
        parts.append(box((-3.9, -3.1), (y - 0.4, y + 0.4), (7.2, 7.5), "black"))
        parts += lamp((-3.3, y, 8.0), "x", 0.6, -0.6, "cream")
    for offset, colour in ((0.0, "orange"), (0.7, "lime"), (1.4, "red")):
        x = -3.6 + offset
        curve = ((x, 3.1, 7.4), (x, 2.6, 7.3), (x - 0.1, 2.3, 5.6), (x, 2.5, 4.2), (x, 2.6, 3.3))
        parts.append(Tube(curve, 0.17, colour))
    for offset, colour in ((0.0, "yellow"), (0.45, "black")):
        z = 3.3 - offset
        curve = (
            (-3.2, -0.7, z), (-3.6, -0.3, z - 0.1), (-4.0, 1.0, 3.8 - offset / 4),
            (-3.8, 2.4, z - 0.2), (-3.6, 3.5, 2.7),
        )  # fmt: skip
        parts.append(Tube(curve, 0.13, colour))
    return parts


def crane() -> list[Part]:
    """Build a folded crane over the left half of the bed, its hook hanging near the tail."""
    parts: list[Part] = [rod((-1.9, -0.3, 4.4), "z", 1.25, 0.5, "dark")]
    for level in range(3):
        z = 4.9 + 1.2 * level
        colour = "white" if level % 2 else "azure"
        parts.append(box((-2.9, -0.9), (-1.3, 0.7), (z, z + 1.2), colour))
    parts += [
        box((-3.1, -2.5), (-1.0, 0.8), (8.5, 10.4), "azure"),
        box((-1.3, -0.7), (-1.0, 0.8), (8.5, 10.4), "azure"),
        box((-2.5, -1.3), (-0.2, 1.0), (8.5, 9.1), "dark", studs=True),
        rod((-3.25, -0.2, 9.8), "x", 0.35, 2.7, "silver", "metal"),
    ]
    joints = [(0.3 - 9.7 * t / 6, 9.75 + 0.85 * t / 6) for t in range(7)]
    for index, (near, far) in enumerate(itertools.pairwise(joints)):
        widths = (0.62 - 0.055 * index, 0.565 - 0.055 * index)
        parts.append(beam(near, far, widths, (-2.4, -1.4), "white" if index % 2 else "blue"))
    hook = ((-1.9, -9.2, 8.1), (-1.9, -9.2, 7.7), (-1.9, -9.6, 7.4), (-1.9, -9.9, 7.75))
    parts += [
        beam((-1.2, 7.8), (-4.2, 9.7), (0.28, 0.28), (-2.2, -1.6), "yellow"),
        Tube(((-1.9, -9.2, 10.4), (-1.9, -9.2, 9.3), (-1.9, -9.2, 8.4)), 0.07, "black"),
        rod((-1.9, -9.2, 8.1), "z", 0.35, 0.6, "red"),
        Tube(hook, 0.12, "silver", "metal"),
        rod((-2.55, -9.2, 10.55), "x", 0.38, 1.3, "yellow"),
    ]
    return parts


def cargo() -> list[Part]:
    """Build crates, barrels and a tree on the right half, loose bricks under the crane."""
    parts: list[Part] = []
    crates = ((0.0, -2.2, 4.4, "green", "lime"), (0.0, -5.3, 4.4, "purple", "pink"))
    for x, y, z, body, lid in crates:
        for level in range(2):
            parts.append(box((x, x + 2.9), (y, y + 2.9), (z + 1.2 * level, z + 1.2 * level + 1.2), body))
        parts.append(box((x, x + 2.9), (y, y + 2.9), (z + 2.4, z + 2.8), lid, studs=True))
    parts += [
        box((0.4, 2.4), (-4.8, -2.8), (7.2, 8.4), "orange", studs=True),
        box((0.9, 1.9), (-4.3, -3.3), (8.4, 9.6), "teal", studs=True),
        box((0.4, 2.4), (-1.8, 0.2), (7.2, 7.6), "tan", studs=True),
    ]
    for x, y, colour in ((0.75, -6.2, "teal"), (2.25, -6.2, "orange")):
        parts += [
            rod((x, y, 4.4), "z", 0.72, 2.6, colour),
            rod((x, y, 5.0), "z", 0.76, 0.2, "black"),
            rod((x, y, 6.2), "z", 0.76, 0.2, "black"),
            rod((x, y, 7.0), "z", 0.3, 0.2, colour),
        ]
    parts += [
        box((0.5, 2.5), (-9.6, -7.6), (4.4, 5.6), "brown", studs=True),
        rod((1.5, -8.6, 5.6), "z", 0.4, 1.2, "brown"),
    ]
    for level, radius in enumerate((1.35, 1.15, 0.9, 0.6)):
        skirt = ((0.0, 0.0), (radius, 0.0), (radius, 0.15), (0.55 * radius, 0.85), (0.0, 0.85))
        parts.append(Turned((1.5, -8.6, 6.7 + 0.8 * level), "z", skirt, "green"))
    parts.append(rod((1.5, -8.6, 9.9), "z", 0.25, 0.3, "yellow"))
    heap = ("1221121", "2331232", "1212312")
    colours = ("azure", "white", "pink", "yellow", "lime", "red")
    for i, row in enumerate(heap):
        for j, height in enumerate(row):
            for level in range(int(height)):
                z = 4.4 + 0.8 * level
                colour = colours[(5 * i + 2 * j + 3 * level) % len(colours)]
                x, y = (-3.0 + i, -2.0 + i), (-9.6 + j, -8.6 + j)
                parts.append(box(x, y, (z, z + 0.8), colour, studs=True))
    return parts


def build_truck() -> list[Part]:
    """Build all parts of the scene, including the ground."""
    builders = (ground, chassis, cab, bed, right_equipment, left_equipment, crane, cargo)
    return [part for build in builders for part in build()]
