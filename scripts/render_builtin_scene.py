"""Renders the built-in truck scene: its data set in Blender layout, or one large picture.

    python scripts/render_builtin_scene.py
    python scripts/render_builtin_scene.py --beauty docs/images/truck.png

Needs the extra `render` (pip install 'nerfcl[render]'). A run that was cut off goes on
where it stopped: finished images are kept, so delete them after changing the scene.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nerfcl.errors import NerfclError
from nerfcl.files import written_aside
from nerfcl.scenes.mitsuba_render import (
    CAMERA_ANGLE_X,
    camera_at,
    hemisphere_cameras,
    render_view,
)

DEFAULT_OUT = Path(__file__).parents[1] / "src" / "nerfcl" / "scenes" / "data" / "truck"
PROCESSES = 2


@dataclass(frozen=True)
class Split:
    """One part of the data set; the seed places its cameras."""

    name: str
    count: int
    seed: int


SPLITS = (Split("train", 100, 1), Split("val", 50, 2), Split("test", 100, 3))


@dataclass(frozen=True)
class View:
    """One image to render: its camera (4, 4) and the file to write."""

    path: Path
    world_from_camera: NDArray[np.float64]
    size: int
    samples: int
    seed: int


def write_png(path: Path, image: Image.Image) -> None:
    """Writes a whole, optimised PNG or nothing."""
    with written_aside(path) as aside:
        image.save(aside, format="PNG", optimize=True)


def plan_views(out: Path, size: int, samples: int) -> list[View]:
    """Writes the camera files and lists all views of the data set."""
    views: list[View] = []
    for split in SPLITS:
        (out / split.name).mkdir(parents=True, exist_ok=True)
        cameras = hemisphere_cameras(split.count, split.seed)
        frames: list[dict[str, object]] = []
        for index, camera in enumerate(cameras):
            frames.append(
                {
                    "file_path": f"./{split.name}/r_{index}",
                    "transform_matrix": camera.tolist(),
                }
            )
            path = out / split.name / f"r_{index}.png"
            views.append(View(path, camera, size, samples, 1000 * split.seed + index))
        content = {"camera_angle_x": CAMERA_ANGLE_X, "frames": frames}
        with written_aside(out / f"transforms_{split.name}.json") as aside:
            aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return views


def use_one_thread() -> None:
    """Keeps the processes of the pool from each starting a thread per core."""
    import drjit  # pyright: ignore[reportMissingImports]

    drjit.set_thread_count(1)


def render_to_file(view: View) -> Path:
    """Renders one view of the data set and writes its image."""
    pixels = render_view(
        view.world_from_camera,
        view.size,
        view.size,
        CAMERA_ANGLE_X,
        samples=view.samples,
        seed=view.seed,
    )
    write_png(view.path, Image.fromarray(pixels))
    return view.path


def show_progress(paths: Iterable[Path], total: int) -> Iterator[Path]:
    """Passes the paths on and reports how many have come."""
    try:
        from rich.progress import track
    except ImportError:
        for done, path in enumerate(paths, start=1):
            print(f"[{done}/{total}] {path}", flush=True)
            yield path
    else:
        yield from track(paths, description="Rendering", total=total)


def render_data_set(out: Path, size: int, samples: int) -> None:
    """Renders every view that has no image yet."""
    views = plan_views(out, size, samples)
    missing = [view for view in views if not view.path.exists()]
    print(f"{len(missing)} of {len(views)} views to render into {out}")
    if not missing:
        return
    # A forked child would inherit Mitsuba's threads in an undefined state.
    context = multiprocessing.get_context("spawn")
    with context.Pool(PROCESSES, initializer=use_one_thread) as pool:
        for _ in show_progress(pool.imap_unordered(render_to_file, missing), len(missing)):
            pass


def render_beauty(path: Path, samples: int) -> None:
    """Writes an 800 x 600 picture of the truck on white."""
    camera = camera_at(np.array([2.7, 3.2, 2.0]))
    # Seen from above, the near end hangs low; a lower camera puts the truck mid-picture.
    camera[:3, 3] -= 0.16 * camera[:3, 1]
    pixels = render_view(camera, 800, 600, 0.62, samples=samples)
    image = Image.fromarray(pixels)
    picture = Image.new("RGBA", image.size, "white")
    picture.alpha_composite(image)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, picture.convert("RGB"))
    print(f"wrote {path}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder of the data set (%(default)s)")
    parser.add_argument("--size", type=int, default=128, help="pixels a side (%(default)s)")
    parser.add_argument("--samples", type=int, default=256, help="rays a pixel (%(default)s)")
    parser.add_argument("--beauty", type=Path, metavar="FILE", help="write one large picture instead")
    options = parser.parse_args()
    try:
        if options.beauty is not None:
            render_beauty(options.beauty, options.samples)
        else:
            render_data_set(options.out, options.size, options.samples)
    except NerfclError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
