"""Turns the parts of the built-in scene into pixels with Mitsuba 3.

Conventions: camera matrices are world_from_camera, 4 x 4, with OpenGL camera axes
(+x right, +y up, -z forward) and world z up, as in the NeRF-synthetic data sets.

Mitsuba is optional and imported inside the functions that need it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nerfcl.errors import NerfclError
from nerfcl.files import written_aside
from nerfcl.jobs import workers
from nerfcl.scenes.truck.bricks import Brick, Part, Prism, Tube, Turned
from nerfcl.scenes.truck.parts import MODEL_CENTRE, PALETTE, STUD_LENGTH, build_truck

FloatArray = NDArray[np.float64]

CAMERA_DISTANCE = 4.03
CAMERA_ANGLE_X = 0.6911112070083618  # radians, the horizontal field of view of NeRF-synthetic
ELEVATION_RANGE = (5.0, 85.0)  # degrees, of random cameras
SPIRAL_TURNS = 2.5
SPIRAL_ELEVATIONS = (10.0, 70.0)  # degrees, of the first and the last frame

SEAM = 0.015  # studs taken off each face, so that neighbouring bricks stay apart
BEVEL = 0.05
STUD_RADIUS = 0.3
STUD_HEIGHT = 0.2
ROUND_SEGMENTS = 40
STUD_SEGMENTS = 20
MAX_PATH_DEPTH = 6


@dataclass(frozen=True)
class Mesh:
    """Triangles: positions (V, 3) in studs, unit normals (V, 3), faces (F, 3)."""

    positions: FloatArray
    normals: FloatArray
    faces: NDArray[np.int64]


def merge_meshes(meshes: list[Mesh]) -> Mesh:
    """One mesh with the triangles of all of them."""
    offsets = np.cumsum([0] + [len(mesh.positions) for mesh in meshes[:-1]])
    return Mesh(
        np.concatenate([mesh.positions for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.faces + o for mesh, o in zip(meshes, offsets, strict=True)]),
    )


def bevelled_prism(outline: FloatArray, low: float, high: float, bevel: float) -> Mesh:
    """A convex prism along z with chamfered edges.

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
        """Where the two edges at each corner meet once moved inwards."""
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
    """Revolves (radius, offset) points, shape (P, 2), around the z axis.

    Long bands of the profile are shaded flat along it; short ones blend between
    their neighbours, which reads as a rounded edge.
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
        """(B, 2) radial and axial values to (B, S, 3)."""
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
    """A round tube along the Catmull-Rom curve through (P, 3) points; its ends are open."""
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
    """Turns a mesh built along z so that it runs along `axis`, keeping its handedness."""
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
    """The triangles of one part, in studs."""
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
    """The scene in world units, one mesh for each (material, colour)."""
    groups: dict[tuple[str, str], list[Mesh]] = {}
    for part in build_truck():
        groups.setdefault((part.material, part.colour), []).extend(part_meshes(part))
    meshes = {}
    for key, group in groups.items():
        mesh = merge_meshes(group)
        world = (mesh.positions - np.array(MODEL_CENTRE)) * STUD_LENGTH
        meshes[key] = Mesh(world, mesh.normals, mesh.faces)
    return meshes


def hemisphere_cameras(count: int, seed: int) -> FloatArray:
    """Random cameras, (count, 4, 4), uniform over the upper hemisphere, facing the origin."""
    rng = np.random.default_rng(seed)
    azimuth = rng.uniform(0, 2 * np.pi, count)
    low, high = np.sin(np.radians(ELEVATION_RANGE))
    # Equal steps in height cut equal areas from a sphere.
    height = rng.uniform(low, high, count)
    flat = np.sqrt(1 - height**2)
    directions = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), height], axis=1)
    return np.stack([camera_at(CAMERA_DISTANCE * direction) for direction in directions])


def spiral_cameras(places: FloatArray, count: int) -> FloatArray:
    """Cameras, (N, 4, 4), along a trajectory of `count` frames around the origin that rises all the way, facing it.

    `places` (N,) counts frames: 0 is the first one, count - 1 the last one, and 0.5 lies half-way between two.
    """
    share = places / (count - 1)
    azimuth = 2 * np.pi * SPIRAL_TURNS * share
    elevation = np.radians(np.interp(share, (0, 1), SPIRAL_ELEVATIONS))
    flat = np.cos(elevation)
    directions = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=1)
    return np.stack([camera_at(CAMERA_DISTANCE * direction) for direction in directions])


def camera_at(position: FloatArray) -> FloatArray:
    """The (4, 4) matrix of an upright camera at `position` (3,) that looks at the origin."""
    back = position / np.linalg.norm(position)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3] = np.stack([right, np.cross(back, right), back, position], axis=1)
    return matrix


def _import_mitsuba() -> Any:
    try:
        import mitsuba  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise NerfclError("rendering the built-in scene needs Mitsuba: pip install 'nerfcl[render]'") from error
    mitsuba.set_variant("scalar_rgb")
    mitsuba.set_log_level(mitsuba.LogLevel.Error)  # it would warn with each image that it rounds `samples` up
    return mitsuba


def mitsuba_version() -> str:
    """The version of the Mitsuba that renders.

    Raises:
        NerfclError: it is not installed.
    """
    return str(_import_mitsuba().__version__)


def _material(kind: str, colour: str) -> dict[str, Any]:
    """The Mitsuba description of a surface."""
    code = PALETTE[colour]
    encoded = np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    rgb = {"type": "rgb", "value": linear.tolist()}
    if kind == "metal":
        return {
            "type": "roughconductor",
            "material": "none",
            "alpha": 0.28,
            "specular_reflectance": rgb,
        }
    roughness = {"plastic": 0.12, "rubber": 0.4, "glass": 0.04}[kind]
    return {"type": "roughplastic", "alpha": roughness, "diffuse_reflectance": rgb}


def _panel_light(mi: Any, position: list[float], size: float, radiance: list[float]) -> dict[str, Any]:
    """A square lamp of half-width `size` aimed at the origin."""
    aim = mi.ScalarTransform4f().look_at(origin=position, target=[0, 0, 0], up=[0, 0, 1])
    return {
        "type": "rectangle",
        "to_world": aim @ mi.ScalarTransform4f().scale(size),
        "emitter": {"type": "area", "radiance": {"type": "rgb", "value": radiance}},
    }


def _sky_image() -> NDArray[np.float32]:
    """A soft sky, (32, 64, 3) linear radiance: blue above, bright horizon, dim ground."""
    elevation = 90 - (np.arange(32) + 0.5) * 180 / 32
    zenith, horizon, ground = ([0.38, 0.49, 0.70], [0.78, 0.77, 0.74], [0.20, 0.18, 0.16])
    levels = np.stack(
        [np.interp(elevation, [-20, 5, 70], c) for c in zip(ground, horizon, zenith, strict=True)],
        axis=1,
    )
    return np.repeat(levels[:, None].astype(np.float32), 64, axis=1)


@functools.cache
def _scene() -> Any:
    """The Mitsuba scene, built once for each process."""
    mi = _import_mitsuba()
    description: dict[str, Any] = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": MAX_PATH_DEPTH, "hide_emitters": True},
        "sky": {
            "type": "envmap",
            "bitmap": mi.Bitmap(_sky_image()),
            # Mitsuba's environment maps have y up.
            "to_world": mi.ScalarTransform4f().rotate([1, 0, 0], 90),
        },
        # Both lamps stand higher than any camera can see past the model.
        "sun": _panel_light(mi, [5.0, 5.5, 8.5], 1.3, [51.0, 44.0, 34.5]),
        "fill": _panel_light(mi, [-7.5, -2.5, 6.0], 2.2, [5.2, 5.8, 6.8]),
    }
    for number, ((kind, colour), mesh) in enumerate(truck_meshes().items()):
        name = f"{kind}_{colour}_{number}"
        properties = mi.Properties()
        properties["bsdf"] = mi.load_dict(_material(kind, colour))
        shape = mi.Mesh(name, len(mesh.positions), len(mesh.faces), properties, True, False)
        values = mi.traverse(shape)
        values["vertex_positions"] = mesh.positions.astype(np.float32).ravel()
        values["vertex_normals"] = mesh.normals.astype(np.float32).ravel()
        values["faces"] = mesh.faces.astype(np.uint32).ravel()
        values.update()
        description[name] = shape
    return mi.load_dict(description)


def render_view(
    world_from_camera: FloatArray,
    width: int,
    height: int,
    camera_angle_x: float = CAMERA_ANGLE_X,
    samples: int = 256,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """Renders the scene from one camera.

    Returns (height, width, 4) RGBA: sRGB-encoded colour that is NOT premultiplied by
    alpha; alpha is 0 where a pixel shows nothing of the scene. `camera_angle_x` is the
    horizontal field of view in radians. One seed always gives the same image.
    """
    mi = _import_mitsuba()
    # Mitsuba cameras look along +z with +x to the left.
    to_world = np.asarray(world_from_camera, dtype=np.float64) @ np.diag([-1.0, 1.0, -1.0, 1.0])
    sensor = mi.load_dict(
        {
            "type": "perspective",
            "fov": math.degrees(camera_angle_x),
            "fov_axis": "x",
            "to_world": mi.ScalarTransform4f(to_world.tolist()),
            "sampler": {"type": "multijitter", "sample_count": samples},
            "film": {
                "type": "hdrfilm",
                "width": width,
                "height": height,
                "pixel_format": "rgba",
                "rfilter": {"type": "box"},
            },
        }
    )
    scene = _scene()
    film = np.array(scene.integrator().render(scene, sensor, seed=seed), dtype=np.float64)
    return encode_film(film)


def encode_film(film: FloatArray) -> NDArray[np.uint8]:
    """Premultiplied linear RGBA (H, W, 4) to straight sRGB-encoded 8-bit RGBA."""
    alpha = np.clip(film[..., 3:], 0, 1)
    linear = np.clip(np.divide(film[..., :3], alpha, where=alpha > 0, out=np.zeros_like(film[..., :3])), 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * np.concatenate([encoded, alpha], axis=2)).astype(np.uint8)


@dataclass(frozen=True)
class Shot:
    """One image to render: the file to write, its camera (4, 4), width and height in pixels, rays a pixel, seed."""

    path: Path
    world_from_camera: FloatArray
    size: tuple[int, int]
    samples: int
    seed: int


def render_to_file(shot: Shot) -> None:
    """Renders an image and writes it as a PNG, whole or not at all."""
    pixels = render_view(shot.world_from_camera, *shot.size, samples=shot.samples, seed=shot.seed)
    write_png(shot.path, Image.fromarray(pixels))


def write_png(path: Path, image: Image.Image) -> None:
    """Writes a whole, optimised PNG or nothing."""
    with written_aside(path) as aside:
        image.save(aside, format="PNG", optimize=True)


def start_worker() -> None:
    """Readies a process of a pool, which renders on one thread."""
    workers.start_worker()
    import drjit  # pyright: ignore[reportMissingImports]

    drjit.set_thread_count(1)
