"""What the first task's model rendered for the train views, in files beside the scene: soft targets and losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.files import written_aside
from nerfcl.streams.stream import TeacherImages
from nerfcl.training.checkpoints import save_tensors

COLOURS, LOSSES = "soft_targets", "stage1_losses"


def colours_file(root: Path, frame: int) -> Path:
    """Return where the rendering of a train view is, by its number in the scene's list of train views."""
    return root / COLOURS / f"r_{frame}.png"


def losses_file(root: Path, frame: int) -> Path:
    """Return where the losses of a train view are: an (H, W) float32 tensor."""
    return root / LOSSES / f"loss_{frame}.pt"


def teacher_images(
    root: Path, frames: Sequence[int], size: tuple[int, int], *, colours: bool, losses: bool
) -> TeacherImages:
    """Read what is needed, where it is there for all of these train views; say where it comes from.

    Args:
        root: the scene's folder.
        frames: numbers of the train views.
        size: (width, height) that they have.
        colours: whether the renderings are needed.
        losses: whether the losses are needed.

    Raises:
        NerfclError: a file is damaged, or of another size.
    """
    shape = (len(frames), size[1], size[0])
    # What is not needed is zero, not None: the model shall not render it.
    kept_colours, kept_losses = torch.zeros(*shape, 3, dtype=torch.uint8), torch.zeros(shape)
    if colours:
        kept_colours = _read_all([colours_file(root, frame) for frame in frames], _read_colours, size)
    if losses:
        kept_losses = _read_all([losses_file(root, frame) for frame in frames], _read_losses, size)
    return TeacherImages(kept_colours, kept_losses)


def write_colours(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 as a PNG."""
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
        print(f"{folder.name}: {missing[0]} is missing; computed from the checkpoint's model")
        return None
    print(f"{folder.name}: {len(files)} files from {folder}")
    return torch.stack([read(file, size) for file in files])


def _read_colours(path: Path, size: tuple[int, int]) -> Tensor:
    try:
        with Image.open(path) as image:
            found, colours = image.size, np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise NerfclError(f"{path}: is not a readable image ({error}); write it again with eval.py") from None
    _check_size(path, found, size, "soft targets")
    return torch.from_numpy(colours)


def _read_losses(path: Path, size: tuple[int, int]) -> Tensor:
    try:
        losses = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # the unpickler raises whatever the bytes of a strange file lead it to
        losses = None
    if not isinstance(losses, Tensor) or losses.dim() != 2 or not losses.is_floating_point():
        raise NerfclError(f"{path}: is not an (H, W) tensor of losses; write it again with eval.py --split infer_train")
    _check_size(path, (losses.shape[1], losses.shape[0]), size, "losses")
    if not bool((losses >= 0.0).all()) or not bool(losses.isfinite().all()):
        raise NerfclError(f"{path}: holds losses below 0 or no numbers; write it again with eval.py")
    return losses.float()


def _check_size(path: Path, found: tuple[int, int], size: tuple[int, int], what: str) -> None:
    if found != size:
        raise NerfclError(
            f"{path}: {what} of another size, {found[0]}x{found[1]} instead of {size[0]}x{size[1]}; write them again "
            f"with eval.py --split infer_train --img_wh {size[0]} {size[1]}, or remove the folder {path.parent}"
        )
