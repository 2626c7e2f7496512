"""Parts of the built-in scene -> triangle meshes."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nerfcl.scenes.truck.bricks import Brick, Part, Prism, Tube, Turned
from nerfcl.scenes.truck.parts import MODEL_CENTRE, STUD_LENGTH, build_truck

FloatArray = NDArray[np.float64]

SEAM = 0.015  # studs taken off each face, to leave gaps between neighbouring bricks
BEVEL = 0.05
STUD_RADIUS = 0.3
STUD_HEIGHT = 0.2
ROUND_SEGMENTS = 40
STUD_SEGMENTS = 20


@dataclass(frozen=True)
class Mesh:
    """Triangles: positions (V, 3) in studs, unit normals (V, 3), faces (F, 3)."""

    positions: FloatArray
    normals: FloatArray
    faces: NDArray[np.int64]


def merge_meshes(meshes: list[Mesh]) -> Mesh:
    """Merge meshes into one."""
    offsets = np.cumsum([0] + [len(mesh.positions) for mesh in meshes[:-1]])
    return Mesh(
        np.concatenate([mesh.positions for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.faces + o for mesh, o in zip(meshes, offsets, strict=True)]),
    )


def bevelled_prism(outline: FloatArray, low: float, high: float, bevel: float) -> Mesh:
    """Make a convex prism along z with chamfered edges.

    `outline` is (N, 2), counter-clockwise. Every corner becomes three vertices, one
    for each of the flat faces that meet there, with the normals of those faces; the
    chamfers share them, so that shading makes the edges look rounded.
    """
    count = len(outline)
    edges = np.roll(outline, -1, axis=0) - outline
    lengths = np.linalg.norm(edges, axis=1, keepdims=True)
    out = np.stack([edges[:, 1], -edges[:, 0]], axis=1) / lengths
    bevel = min(bevel, (high - low) / 3, float(lengths.min()) / 3)

    def corner(inset_before: float, inset_after: float) -> FloatArray:
        """Intersect the two edges at each corner after moving them inwards."""
        before = np.roll(out, 1, axis=0)
        matrix = np.stack([before, out], axis=1)
        level = np.einsum("nij,nj->ni", matrix, outline) - (inset_before, inset_after)
        return np.linalg.solve(matrix, level[..., None])[..., 0]

    positions, normals = [], []
    for end, sign in ((low, -1.0), (high, 1.0)):
        side_z = end - sign * bevel
        for points, z, facing in (
            (corner(bevel, bevel), end, np.tile([0.0, 0.0, sign], (count, 1))),
            (corner(0, bevel), side_z, np.pad(np.roll(out, 1, axis=0), ((0, 0), (0, 1)))),
            (corner(bevel, 0), side_z, np.pad(out, ((0, 0), (0, 1)))),
        ):
            positions.append(np.pad(points, ((0, 0), (0, 1)), constant_values=z))
            normals.append(facing)

    # Vertex numbers of the cap, the edge before and the edge after each corner.
    i = np.arange(count)
    j = (i + 1) % count
    bottom, bottom_before, bottom_after, top, top_before, top_after = (i + count * block for block in range(6))
    quads = [
        (bottom_after, bottom_before[j], top_before[j], top_after),
        (bottom_before, bottom_after, top_after, top_before),
        (bottom, bottom[j], bottom_before[j], bottom_after),
        (top_after, top_before[j], top[j], top),
    ]
    faces = [np.stack([a, b, c], 1) for a, b, c, _ in quads]
    faces += [np.stack([a, c, d], 1) for a, _, c, d in quads]
    faces += [
        np.stack([bottom, bottom_after, bottom_before], 1),
        np.stack([top, top_before, top_after], 1),
    ]
    fan = np.arange(1, count - 1)
    faces += [
        np.stack([np.full_like(fan, bottom[0]), bottom[fan + 1], bottom[fan]], 1),
        np.stack([np.full_like(fan, top[0]), top[fan], top[fan + 1]], 1),
    ]
    return Mesh(np.concatenate(positions), np.concatenate(normals), np.concatenate(faces))


def turned_mesh(profile: FloatArray, segments: int) -> Mesh:
    """Revolve (radius, offset) points, shape (P, 2), around the z axis.

    Long bands of the profile are shaded flat along it; short ones blend between
    their neighbours, which looks like a rounded edge.
    """
    if profile[-1, 1] < profile[0, 1]:
        profile = profile[::-1]
    steps = np.diff(profile, axis=0)
    lengths = np.linalg.norm(steps, axis=1, keepdims=True)
    band = np.stack([steps[:, 1], -steps[:, 0]], axis=1) / lengths
    short = (lengths[:, 0] < 0.1) & (np.arange(len(band)) > 0) & (np.arange(len(band)) < len(band) - 1)
    start = np.where(short[:, None], np.roll(band, 1, axis=0), band)
    stop = np.where(short[:, None], np.roll(band, -1, axis=0), band)

    angle = 2 * np.pi * np.arange(segments) / segments
    spin = np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def rings(values: FloatArray) -> FloatArray:
        """Map radial and axial values (B, 2) to (B, S, 3)."""
        radial = values[:, None, :1] * spin
        axial = np.broadcast_to(values[:, None, 1:], (len(values), segments, 1))
        return np.concatenate([radial, axial], axis=2)

    positions = np.stack([rings(profile[:-1]), rings(profile[1:])], axis=1)
    normals = np.stack([rings(start), rings(stop)], axis=1)
    s = np.arange(segments)
    t = (s + 1) % segments
    quad = np.concatenate([np.stack([s, t, t + segments], 1), np.stack([s, t + segments, s + segments], 1)])
    faces = quad[None] + (2 * segments * np.arange(len(band)))[:, None, None]
    return Mesh(positions.reshape(-1, 3), normals.reshape(-1, 3), faces.reshape(-1, 3))


def tube_mesh(points: FloatArray, radius: float, sides: int = 12, steps: int = 10) -> Mesh:
    """Make a round tube along the Catmull-Rom curve through (P, 3) points; its ends are open."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        pieces.append(b + t * (c - a) / 2 + t**2 * (a - 2.5 * b + 2 * c - d / 2) + t**3 * (1.5 * (b - c) + (d - a) / 2))
    curve = np.concatenate([*pieces, points[-1:]])
    tangent = np.gradient(curve, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    # The curves of this scene never run along this direction, so the frame cannot flip.
    reference = np.array([0.9, 0.3, 0.1])
    u = np.cross(tangent, reference)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(tangent, u)
    angle = 2 * np.pi * np.arange(sides) / sides
    normals = np.cos(angle)[None, :, None] * u[:, None] + np.sin(angle)[None, :, None] * v[:, None]
    positions = curve[:, None] + radius * normals
    s = np.arange(sides)
    e = (s + 1) % sides
    quad = np.concatenate([np.stack([s, e, e + sides], 1), np.stack([s, e + sides, s + sides], 1)])
    faces = quad[None] + (sides * np.arange(len(curve) - 1))[:, None, None]
    return Mesh(positions.reshape(-1, 3), normals.reshape(-1, 3), faces.reshape(-1, 3))


def _along(mesh: Mesh, axis: str) -> Mesh:
    """Turn a mesh built along z so that it runs along `axis`, preserving its handedness."""
    shift = "xyz".index(axis) + 1
    return Mesh(np.roll(mesh.positions, shift, 1), np.roll(mesh.normals, shift, 1), mesh.faces)


def _moved(mesh: Mesh, offset: FloatArray) -> Mesh:
    return Mesh(mesh.positions + offset, mesh.normals, mesh.faces)


@functools.cache
def _stud() -> Mesh:
    edge = 0.04
    profile = [(STUD_RADIUS, -0.05), (STUD_RADIUS, STUD_HEIGHT - edge)]
    profile += [(STUD_RADIUS - edge, STUD_HEIGHT), (0.0, STUD_HEIGHT)]
    return turned_mesh(np.array(profile), STUD_SEGMENTS)


def _brick_meshes(brick: Brick) -> list[Mesh]:
    x, y, z = brick.position
    width, length, height = brick.size
    corners = np.array([(0, 0), (width, 0), (width, length), (0, length)], dtype=np.float64)
    inset = SEAM * np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])
    block = bevelled_prism(corners + inset + (x, y), z + SEAM, z + height - SEAM, BEVEL)
    if not brick.studs:
        return [block]
    columns, rows = max(1, round(width)), max(1, round(length))
    return [block] + [
        _moved(
            _stud(),
            np.array([x + width * (i + 0.5) / columns, y + length * (j + 0.5) / rows, z + height]),
        )
        for i in range(columns)
        for j in range(rows)
    ]


def part_meshes(part: Part) -> list[Mesh]:
    """Build the meshes of one part, in studs."""
    match part:
        case Brick():
            return _brick_meshes(part)
        case Prism():
            outline = np.array(part.outline)
            return [_along(bevelled_prism(outline, *part.span, BEVEL), part.axis)]
        case Turned():
            mesh = _along(turned_mesh(np.array(part.profile), ROUND_SEGMENTS), part.axis)
            return [_moved(mesh, np.array(part.base))]
        case Tube():
            return [tube_mesh(np.array(part.points), part.radius)]


def truck_meshes() -> dict[tuple[str, str], Mesh]:
    """Build the scene in world units, one mesh for each (material, colour)."""
    groups: dict[tuple[str, str], list[Mesh]] = {}
    for part in build_truck():
        groups.setdefault((part.material, part.colour), []).extend(part_meshes(part))
    meshes = {}
    for key, group in groups.items():
        mesh = merge_meshes(group)
        world = (mesh.positions - np.array(MODEL_CENTRE)) * STUD_LENGTH
        meshes[key] = Mesh(world, mesh.normals, mesh.faces)
    return meshes
