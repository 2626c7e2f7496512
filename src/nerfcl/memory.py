"""What is kept of the past: rays in a struct of arrays with a capacity, their cameras apart."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nerfcl.pixels import Pixels
from nerfcl.scenes.scene import Views


class RayMemory:
    """A memory of rays: frame, pixel and 8-bit colour (11 bytes a ray), poses, intrinsics
    and image width once a frame.

    Filling keeps a uniform random subset of all rays ever offered; drawing is uniform with replacement and costs the
    same at any capacity. Colours are exact to the 8-bit image.

    Args:
        capacity: the most rays it holds; None keeps everything.
        generator: source of all randomness here; part of the saved state.
    """

    def __init__(self, capacity: int | None, generator: torch.Generator) -> None:
        self.capacity = capacity
        self.generator = generator
        self.offered = 0
        self.fills = 0
        self._frames = torch.empty(0, dtype=torch.int32)
        self._pixels = torch.empty(0, dtype=torch.int32)
        self._colours = torch.empty(0, 3, dtype=torch.uint8)
        self._poses = torch.empty(0, 3, 4)
        self._intrinsics = torch.empty(0, 4)
        self._widths = torch.empty(0, dtype=torch.int32)

    def __len__(self) -> int:
        return self._frames.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of everything kept: rays, and the cameras of their frames."""
        return sum(part.numel() * part.element_size() for part in self._arrays().values())

    def fill(self, views: Views) -> None:
        """Offers all rays of these views; afterwards every ray ever offered is held with equal probability."""
        per_view = views.height * views.width
        total = len(views) * per_view
        chosen = torch.arange(total)
        if self.capacity is not None and self.offered + total > self.capacity:
            arriving = round(self.capacity * total / (self.offered + total))
            arriving = min(arriving, total)
            staying = min(self.capacity - arriving, len(self))
            self._keep(torch.randperm(len(self), generator=self.generator)[:staying])
            chosen = torch.randperm(total, generator=self.generator)[:arriving]
        frames = (chosen // per_view + len(self._poses)).to(torch.int32)
        self._frames = torch.cat([self._frames, frames])
        self._pixels = torch.cat([self._pixels, (chosen % per_view).to(torch.int32)])
        self._colours = torch.cat([self._colours, views.images.view(-1, 3)[chosen]])
        self._poses = torch.cat([self._poses, views.poses[:, :3]])
        self._intrinsics = torch.cat([self._intrinsics, views.intrinsics])
        self._widths = torch.cat([self._widths, torch.full((len(views),), views.width, dtype=torch.int32)])
        self.offered += total
        self.fills += 1
        self._drop_unused_frames()

    def draw(self, count: int) -> Pixels:
        """`count` rays, uniformly at random with replacement; the memory must not be empty."""
        chosen = torch.randint(len(self), (count,), generator=self.generator)
        frames = self._frames.index_select(0, chosen)
        pixels = self._pixels.index_select(0, chosen).long()
        widths = self._widths.index_select(0, frames).long()
        top = self._poses.index_select(0, frames)  # (count, 3, 4)
        bottom = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(count, 1, 4)
        return Pixels(
            torch.cat([top, bottom], 1),
            self._intrinsics.index_select(0, frames),
            pixels % widths,
            pixels // widths,
            self._colours.index_select(0, chosen).float() / 255.0,
            new=0,
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on exactly."""
        numbers = {
            "offered": self.offered,
            "fills": self.fills,
            "generator": self.generator.get_state(),
        }
        return {**self._arrays(), **numbers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        for name in self._arrays():
            setattr(self, f"_{name}", state[name])
        self.offered, self.fills = state["offered"], state["fills"]
        self.generator.set_state(state["generator"])

    def _arrays(self) -> dict[str, Tensor]:
        return {
            "frames": self._frames,
            "pixels": self._pixels,
            "colours": self._colours,
            "poses": self._poses,
            "intrinsics": self._intrinsics,
            "widths": self._widths,
        }

    def _keep(self, chosen: Tensor) -> None:
        self._frames, self._pixels, self._colours = self._frames[chosen], self._pixels[chosen], self._colours[chosen]

    def _drop_unused_frames(self) -> None:
        used, frames = torch.unique(self._frames.long(), return_inverse=True)
        self._frames = frames.to(torch.int32)
        self._poses, self._intrinsics, self._widths = self._poses[used], self._intrinsics[used], self._widths[used]
