"""Renders one large picture of the built-in truck.

    python scripts/render_builtin_scene.py docs/images/truck.png

Needs the extra `render` (pip install 'nerfcl[render]'). The images of the built-in scene are what
`nerfcl make-scene --trajectory hemisphere --frames 200 --img-wh 128 128 --samples 256 --out FOLDER` writes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from nerfcl.errors import NerfclError
from nerfcl.scenes.truck.cameras import camera_at
from nerfcl.scenes.truck.render import render_view, write_png


def render_beauty(path: Path, samples: int) -> None:
    """Writes an 800 x 600 picture of the truck on white."""
    camera = camera_at(np.array([2.7, 3.2, 2.0]))
    # Seen from above, the near end hangs low; a lower camera puts the truck mid-picture.
    camera[:3, 3] -= 0.16 * camera[:3, 1]
    pixels = render_view(camera, 800, 600, 0.62, samples=samples)
    image = Image.fromarray(pixels)
    picture = Image.new("RGBA", image.size, "white")
    picture.alpha_composite(image)
    write_png(path, picture.convert("RGB"))
    print(f"wrote {path}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the PNG to write")
    parser.add_argument("--samples", type=int, default=256, help="rays a pixel (%(default)s)")
    options = parser.parse_args()
    try:
        render_beauty(options.file, options.samples)
    except NerfclError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
