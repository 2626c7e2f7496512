"""Files with what the first task's model renders for the train views, next to the scene: soft targets and losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.files import written_aside
from nerfcl.scenes.images import read_rgba
from nerfcl.streams.stream import TeacherImages
from nerfcl.training.archives import read_tensors
from nerfcl.training.checkpoints import save_tensors

COLOURS, LOSSES = "soft_targets", "stage1_losses"


def colours_file(root: Path, frame: int) -> Path:
    """Return the path of the rendering of a train view, by its index among the scene's train views."""
    return root / COLOURS / f"r_{frame}.png"


def losses_file(root: Path, frame: int) -> Path:
    """Return the path of the losses of a train view, an (H, W) float32 tensor."""
    return root / LOSSES / f"loss_{frame}.pt"


def teacher_images(
    root: Path, frames: Sequence[int], size: tuple[int, int], *, colours: bool, losses: bool
) -> TeacherImages:
    """Read what is needed, if present for all of these train views; print where it comes from.

    Args:
        root: folder of the scene.
        frames: indices of the train views.
        size: (width, height) of the train views.
        colours: whether renderings are needed.
        losses: whether losses are needed.

    Raises:
        NerfclError: a file is damaged, or of the wrong size.
    """
    shape = (len(frames), size[1], size[0])
    # Zeros, not None, for what is not needed, since the model renders what is None.
    kept_colours, kept_losses = torch.zeros(*shape, 3, dtype=torch.uint8), torch.zeros(shape)
    if colours:
        kept_colours = _read_all([colours_file(root, frame) for frame in frames], _read_colours, size)
    if losses:
        kept_losses = _read_all([losses_file(root, frame) for frame in frames], _read_losses, size)
    return TeacherImages(kept_colours, kept_losses)


def write_colours(path: Path, image: np.ndarray) -> None:
    """Write an (H, W, 3) uint8 image as a PNG."""
    with written_aside(path) as aside:
        Image.fromarray(image).save(aside)


def write_losses(path: Path, losses: Tensor) -> None:
    """Write (H, W) float32 losses."""
    save_tensors(path, losses)


def _read_all(
    files: Sequence[Path], read: Callable[[Path, tuple[int, int]], Tensor], size: tuple[int, int]
) -> Tensor | None:
    folder = files[0].parent
    missing = [file for file in files if not file.is_file()]
    if missing:
        print(f"{folder.name}: {missing[0]} is missing; using the checkpoint's model instead")
        return None
    print(f"{folder.name}: {len(files)} files from {folder}")
    return torch.stack([read(file, size) for file in files])


def _read_colours(path: Path, size: tuple[int, int]) -> Tensor:
    image = read_rgba(path)
    _check_size(path, image.size, size, "soft targets")
    return torch.from_numpy(np.array(image.convert("RGB")))


def _read_losses(path: Path, size: tuple[int, int]) -> Tensor:
    what = "an (H, W) tensor of losses; write it again with eval.py --split infer_train"
    losses = read_tensors(path, what)
    if not isinstance(losses, Tensor) or losses.dim() != 2 or not losses.is_floating_point():
        raise NerfclError(f"{path}: is not {what}")
    _check_size(path, (losses.shape[1], losses.shape[0]), size, "losses")
    if not bool((losses >= 0.0).all()) or not bool(losses.isfinite().all()):
        raise NerfclError(f"{path}: holds negative, infinite or NaN losses; write it again with eval.py")
    return losses.float()


def _check_size(path: Path, found: tuple[int, int], size: tuple[int, int], what: str) -> None:
    if found != size:
        raise NerfclError(
            f"{path}: {what} of the wrong size, {found[0]}x{found[1]} instead of {size[0]}x{size[1]}; write them again "
            f"with eval.py --split infer_train --img_wh {size[0]} {size[1]}, or remove the folder {path.parent}"
        )
