"""The built-in scene -> pixels, rendered with Mitsuba 3, which is optional and imported on use."""

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
from nerfcl.scenes.truck.cameras import CAMERA_ANGLE_X
from nerfcl.scenes.truck.meshes import truck_meshes
from nerfcl.scenes.truck.parts import PALETTE

FloatArray = NDArray[np.float64]

MAX_PATH_DEPTH = 6


def _import_mitsuba() -> Any:
    try:
        import mitsuba  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise NerfclError("rendering the built-in scene needs Mitsuba: pip install 'nerfcl[render]'") from error
    mitsuba.set_variant("scalar_rgb")
    mitsuba.set_log_level(mitsuba.LogLevel.Error)  # else it warns for each image that it rounds `samples` up
    return mitsuba


def mitsuba_version() -> str:
    """Return the version of Mitsuba.

    Raises:
        NerfclError: Mitsuba is not installed.
    """
    return str(_import_mitsuba().__version__)


def _material(kind: str, colour: str) -> dict[str, Any]:
    """Return the Mitsuba description of a surface."""
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
    """Return a square lamp of half-width `size` aimed at the origin."""
    aim = mi.ScalarTransform4f().look_at(origin=position, target=[0, 0, 0], up=[0, 0, 1])
    return {
        "type": "rectangle",
        "to_world": aim @ mi.ScalarTransform4f().scale(size),
        "emitter": {"type": "area", "radiance": {"type": "rgb", "value": radiance}},
    }


def _sky_image() -> NDArray[np.float32]:
    """Return a soft sky, (32, 64, 3) linear radiance: blue above, bright horizon, dim ground."""
    elevation = 90 - (np.arange(32) + 0.5) * 180 / 32
    zenith, horizon, ground = ([0.38, 0.49, 0.70], [0.78, 0.77, 0.74], [0.20, 0.18, 0.16])
    levels = np.stack(
        [np.interp(elevation, [-20, 5, 70], c) for c in zip(ground, horizon, zenith, strict=True)],
        axis=1,
    )
    return np.repeat(levels[:, None].astype(np.float32), 64, axis=1)


@functools.cache
def _scene() -> Any:
    """Return the Mitsuba scene, built once per process."""
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
        # Both lamps are too high for any camera to see them past the model.
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
    """Render the scene from one camera.

    Returns (height, width, 4) RGBA: sRGB-encoded colour that is NOT premultiplied by
    alpha; alpha is 0 where a pixel shows nothing of the scene. `camera_angle_x` is the
    horizontal field of view in radians. The same seed always gives the same image.
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
    """Convert premultiplied linear RGBA (H, W, 4) to straight sRGB-encoded 8-bit RGBA."""
    alpha = np.clip(film[..., 3:], 0, 1)
    linear = np.clip(np.divide(film[..., :3], alpha, where=alpha > 0, out=np.zeros_like(film[..., :3])), 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * np.concatenate([encoded, alpha], axis=2)).astype(np.uint8)


@dataclass(frozen=True)
class Shot:
    """One image to render: the file to write, its camera (4, 4), width and height in pixels, rays per pixel, seed."""

    path: Path
    world_from_camera: FloatArray
    size: tuple[int, int]
    samples: int
    seed: int


def render_to_file(shot: Shot) -> None:
    """Render an image and write it atomically as a PNG."""
    pixels = render_view(shot.world_from_camera, *shot.size, samples=shot.samples, seed=shot.seed)
    write_png(shot.path, Image.fromarray(pixels))


def write_png(path: Path, image: Image.Image) -> None:
    """Write an optimised PNG atomically."""
    with written_aside(path) as aside:
        image.save(aside, format="PNG", optimize=True)


def use_one_thread() -> None:
    """Make Mitsuba render on one thread in this process."""
    import drjit  # pyright: ignore[reportMissingImports]

    drjit.set_thread_count(1)
