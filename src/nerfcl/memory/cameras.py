"""Cameras of past frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nerfcl.scenes.lenses import PINHOLE, ROW, joined
from nerfcl.scenes.scene import Views
from nerfcl.streams.pixels import Pixels


def bytes_per_camera(intrinsics: int) -> int:
    """Count the bytes that a camera takes which has this many numbers of intrinsics: 76, or 140 with a lens."""
    return 4 * (12 + intrinsics + 2 + 1)


def largest_camera(views: Sequence[Views]) -> int:
    """Count the bytes that each camera takes in a memory of all these views."""
    return bytes_per_camera(max(part.intrinsics.shape[1] for part in views))


class Cameras:
    """Pose, intrinsics, image size and time of arrival of F frames, see `bytes_per_camera`.

    Attributes:
        poses: (F, 3, 4) float32, world from camera.
        intrinsics: (F, 4) float32, fx, fy, cx, cy in pixels; or (F, 20) with lenses, see `nerfcl.scenes.lenses`.
        sizes: (F, 2) int32, width and height in pixels.
        born: (F,) int32, training step at which each arrived.
    """

    def __init__(self) -> None:
        self.poses = torch.empty(0, 3, 4)
        self.intrinsics = torch.empty(0, PINHOLE)
        self.sizes = torch.empty(0, 2, dtype=torch.int32)
        self.born = torch.empty(0, dtype=torch.int32)

    def __len__(self) -> int:
        return self.poses.shape[0]

    @property
    def bytes_each(self) -> int:
        """Bytes of each camera."""
        return bytes_per_camera(self.intrinsics.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of all four tensors."""
        return sum(part.numel() * part.element_size() for part in self.state_dict().values())

    def add(self, views: Views, now: int = 0) -> int:
        """Add the cameras of views that arrived at training step `now`; return the number of the first."""
        first = len(self)
        size = torch.tensor([[views.width, views.height]], dtype=torch.int32)
        self.poses = torch.cat([self.poses, views.poses[:, :3]])
        self.intrinsics = joined([self.intrinsics, views.intrinsics])
        self.sizes = torch.cat([self.sizes, size.repeat(len(views), 1)])
        self.born = torch.cat([self.born, torch.full((len(views),), now, dtype=torch.int32)])
        return first

    def drop_unused(self, frames: Tensor) -> Tensor:
        """Drop all frames except those with these (N,) numbers; return their new numbers, (N,) int32."""
        used, numbers = torch.unique(frames.long(), return_inverse=True)
        self.poses, self.intrinsics = self.poses[used], self.intrinsics[used]
        self.sizes, self.born = self.sizes[used], self.born[used]
        return numbers.to(torch.int32)

    def pixels(self, frames: Tensor, pixels: Tensor, colours: Tensor, indices: Tensor) -> Pixels:
        """Build a batch of pixels of the past.

        Args:
            frames: (B,) frame numbers.
            pixels: (B,) flat pixel indices within the frames, row by row.
            colours: (B, 3) float32 in [0, 1].
            indices: (B,) where each pixel comes from; see `Pixels`.
        """
        pixels = pixels.long()
        widths = self.sizes.index_select(0, frames)[:, 0].long()
        top = self.poses.index_select(0, frames)  # (B, 3, 4)
        bottom = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(len(frames), 1, 4)
        return Pixels(
            torch.cat([top, bottom], 1),
            self.intrinsics.index_select(0, frames),
            pixels % widths,
            pixels // widths,
            colours,
            indices=indices,
            new=0,
        )

    def check_frames(self, frames: Tensor) -> None:
        """Raise a ValueError unless these (N,) are numbers of stored frames."""
        if frames.dim() != 1 or (len(frames) and not 0 <= int(frames.min()) <= int(frames.max()) < len(self)):
            raise ValueError("a stored ray or tile belongs to no stored camera")

    def sample_pixels(self, count: int, generator: torch.Generator) -> Pixels:
        """Draw `count` random pixels of random frames, without colours; needs at least one frame."""
        frames = torch.randint(len(self), (count,), generator=generator)
        sizes = self.sizes.index_select(0, frames).long().prod(1)
        pixels = (torch.rand(count, generator=generator, dtype=torch.float64) * sizes).long()
        return self.pixels(frames, pixels, torch.zeros(count, 3), frames)

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that `load_state_dict` needs."""
        return {"poses": self.poses, "intrinsics": self.intrinsics, "sizes": self.sizes, "born": self.born}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned; extra entries are ignored.

        Raises:
            ValueError: the tensors do not fit together.
        """
        frames = len(state["poses"])
        shapes = {"poses": (frames, 3, 4), "sizes": (frames, 2), "born": (frames,)}
        is_complete = all(state[name].shape == shape for name, shape in shapes.items())
        if not is_complete or state["intrinsics"].shape not in ((frames, PINHOLE), (frames, ROW)):
            raise ValueError("the stored cameras are incomplete")
        self.poses, self.intrinsics = state["poses"], state["intrinsics"]
        self.sizes, self.born = state["sizes"], state["born"]
