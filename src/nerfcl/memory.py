"""What is kept of the past: rays in a struct of arrays with a capacity, their cameras apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.pixels import Pixels
from nerfcl.sampling import Passes, draw_by_weight, draw_from_the_rest
from nerfcl.scenes.scene import Views

FILLS = ("random", "uniform", "topk")
DRAWS = ("random", "weighted", "topk")


@dataclass(frozen=True)
class Recalled:
    """What a model makes of B pixels that it has learned.

    Attributes:
        colours: (B, 3) uint8 as rendered.
        losses: (B,) float32, mean squared error over the channels against the true colours in [0, 1].
    """

    colours: Tensor
    losses: Tensor


Recall = Callable[[Tensor], Recalled]  # (B,) flat indices into views -> what the model makes of those pixels


@dataclass(frozen=True)
class MemorySettings:
    """What is kept, and what is drawn.

    Attributes:
        capacity: the most rays that are held; None keeps everything.
        fill: which rays are kept: "random", "uniform" (every k-th), or "topk" (those of highest loss).
        draw: which are drawn: "random" (in passes, each in random order), "weighted" (without replacement, with
            probability ∝ weight), or "topk" (those of highest loss).
        exploration: share of a weighted draw that comes uniformly from the rest, 0 to 1.
        centre_weight: a of the weights a * centre + (1 - a) * loss, both normalised to a sum of 1, where centre is a
            Gaussian of the distance to the image's centre, of deviation 1 when the image spans [-1, 1]^2.
        soft: whether to keep the model's colours instead of the true ones.
    """

    capacity: int | None = 20_480
    fill: str = "random"
    draw: str = "random"
    exploration: float = 0.0
    centre_weight: float = 0.0
    soft: bool = False

    def __post_init__(self) -> None:
        if self.fill not in FILLS:
            raise NerfclError(f"--memory-fill {self.fill}: must be {', '.join(FILLS)}")
        if self.draw not in DRAWS:
            raise NerfclError(f"--memory-draw {self.draw}: must be {', '.join(DRAWS)}")
        for option in ("exploration", "centre_weight"):
            if not 0.0 <= getattr(self, option) <= 1.0:
                raise NerfclError(f"--{option.replace('_', '-')} {getattr(self, option)}: must lie between 0 and 1")
        if self.draw != "weighted" and (self.exploration or self.centre_weight):
            raise NerfclError("--exploration and --centre-weight: only with --memory-draw weighted")

    @property
    def needs_losses(self) -> bool:
        """Whether each ray's loss must be known."""
        return self.fill == "topk" or self.draw != "random"


class RayMemory:
    """A memory of rays: frame, pixel and 8-bit colour (11 bytes a ray), where they are needed losses (2 more), and
    pose, intrinsics and image size once a frame.

    All experiences get equal shares for each ray that they offered. The cost of a draw hardly grows with the capacity.

    Args:
        settings: what is kept, and what is drawn.
        generator: source of all randomness here; part of the saved state.
    """

    def __init__(self, settings: MemorySettings, generator: torch.Generator) -> None:
        self.settings = settings
        self.generator = generator
        self.offered = 0
        self.fills = 0
        self._frames = torch.empty(0, dtype=torch.int32)
        self._pixels = torch.empty(0, dtype=torch.int32)
        self._colours = torch.empty(0, 3, dtype=torch.uint8)
        self._losses = torch.empty(0, dtype=torch.bfloat16)
        self._poses = torch.empty(0, 3, 4)
        self._intrinsics = torch.empty(0, 4)
        self._sizes = torch.empty(0, 2, dtype=torch.int32)  # width, height
        self._passes: Passes | None = None
        self._centre: Tensor | None = None

    def __len__(self) -> int:
        return self._frames.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of everything kept: rays, and the cameras of their frames."""
        return sum(part.numel() * part.element_size() for part in self._arrays().values())

    def fill(self, views: Views, recall: Recall | None = None) -> None:
        """Offers all rays of these views, and makes room for those that are chosen.

        Args:
            views: what was just learned.
            recall: what the model makes of the views' pixels; may be left out where neither losses nor soft colours
                are needed.
        """
        total = len(views) * views.height * views.width
        capacity = self.offered + total if self.settings.capacity is None else self.settings.capacity
        everything = self._recall(recall, torch.arange(total)) if self.settings.fill == "topk" else None
        if self.offered + total > capacity:
            arriving = min(round(capacity * total / (self.offered + total)), total)
            self._keep(self._choose(len(self), min(capacity - arriving, len(self)), self._losses))
            chosen = self._choose(total, arriving, None if everything is None else everything.losses)
        else:
            chosen = torch.arange(total)
        if everything is not None:
            recalled = Recalled(everything.colours[chosen], everything.losses[chosen])
        else:
            recalled = self._recall(recall, chosen)
        self._append(views, chosen, recalled)
        self.offered += total
        self.fills += 1

    def draw(self, count: int) -> Pixels:
        """`count` rays; the memory must not be empty. `Pixels.indices` are their places in the memory."""
        chosen = self._choose_drawn(count)
        frames = self._frames.index_select(0, chosen)
        pixels = self._pixels.index_select(0, chosen).long()
        widths = self._sizes.index_select(0, frames)[:, 0].long()
        top = self._poses.index_select(0, frames)  # (count, 3, 4)
        bottom = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(count, 1, 4)
        return Pixels(
            torch.cat([top, bottom], 1),
            self._intrinsics.index_select(0, frames),
            pixels % widths,
            pixels // widths,
            self._colours.index_select(0, chosen).float() / 255.0,
            indices=chosen,
            new=0,
        )

    def set_losses(self, places: Tensor, losses: Tensor) -> None:
        """Replaces the losses of the rays at these (B,) places, where losses are kept."""
        if self.settings.needs_losses:
            self._losses[places] = losses.to(self._losses)

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on exactly."""
        return {
            **self._arrays(),
            "losses": self._losses.clone(),  # the others are replaced, never changed
            "offered": self.offered,
            "fills": self.fills,
            "generator": self.generator.get_state(),
            "passes": None if self._passes is None else self._passes.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        for name in self._arrays():
            setattr(self, f"_{name}", state[name])
        self._losses = self._losses.clone()  # changed in place; the others are replaced
        self.offered, self.fills = state["offered"], state["fills"]
        if state["passes"] is not None:
            self._passes = Passes(len(self), self.generator)
            self._passes.load_state_dict(state["passes"])
        self._centre = self._centre_weights()
        self.generator.set_state(state["generator"])

    def _arrays(self) -> dict[str, Tensor]:
        return {
            "frames": self._frames,
            "pixels": self._pixels,
            "colours": self._colours,
            "losses": self._losses,
            "poses": self._poses,
            "intrinsics": self._intrinsics,
            "sizes": self._sizes,
        }

    def _recall(self, recall: Recall | None, pixels: Tensor) -> Recalled | None:
        if not self.settings.needs_losses and not self.settings.soft:
            return None
        if recall is None:
            raise ValueError("a memory with losses or soft colours needs to know what the model makes of the pixels")
        return recall(pixels)

    def _choose(self, total: int, count: int, losses: Tensor | None) -> Tensor:
        """Which (count,) of `total` rays are kept."""
        if self.settings.fill == "random":
            return torch.randperm(total, generator=self.generator)[:count]
        if self.settings.fill == "uniform":
            return torch.arange(count) * total // max(count, 1)
        assert losses is not None
        return losses.float().topk(count).indices

    def _choose_drawn(self, count: int) -> Tensor:
        """The places (count,) of the rays to draw."""
        if self.settings.draw == "random":
            assert self._passes is not None
            return self._passes.next(count)
        whole, rest = divmod(count, len(self))
        if self.settings.draw == "topk":
            drawn = self._losses.topk(rest).indices
        else:
            exploring = int(rest * self.settings.exploration)
            drawn = draw_by_weight(self._weights(), rest - exploring, self.generator)
            drawn = torch.cat([drawn, draw_from_the_rest(len(self), drawn, exploring, self.generator)])
        return torch.cat([torch.arange(len(self)).repeat(whole), drawn]) if whole else drawn

    def _weights(self) -> Tensor:
        """(N,) weights of weighted draws, up to a factor."""
        if self._centre is None:
            return self._losses
        share = self.settings.centre_weight / float(self._centre.sum())
        other = (1.0 - self.settings.centre_weight) / max(float(self._losses.sum(dtype=torch.float32)), 1e-30)
        return share * self._centre + other * self._losses

    def _centre_weights(self) -> Tensor | None:
        if not self.settings.centre_weight:
            return None
        width, height = self._sizes[self._frames.long()].long().unbind(1)
        x = 2.0 * (self._pixels % width) / (width - 1) - 1.0
        y = 2.0 * (self._pixels // width) / (height - 1) - 1.0
        return torch.exp(-0.5 * (x.square() + y.square()))

    def _append(self, views: Views, chosen: Tensor, recalled: Recalled | None) -> None:
        per_view = views.height * views.width
        colours = views.images.view(-1, 3)[chosen]
        if recalled is not None and self.settings.soft:
            colours = recalled.colours
        losses = torch.empty(0) if recalled is None or not self.settings.needs_losses else recalled.losses
        frames = (chosen // per_view + len(self._poses)).to(torch.int32)
        self._frames = torch.cat([self._frames, frames])
        self._pixels = torch.cat([self._pixels, (chosen % per_view).to(torch.int32)])
        self._colours = torch.cat([self._colours, colours])
        self._losses = torch.cat([self._losses, losses.to(torch.bfloat16)])
        self._poses = torch.cat([self._poses, views.poses[:, :3]])
        self._intrinsics = torch.cat([self._intrinsics, views.intrinsics])
        size = torch.tensor([[views.width, views.height]], dtype=torch.int32)
        self._sizes = torch.cat([self._sizes, size.repeat(len(views), 1)])
        self._drop_unused_frames()
        self._passes = Passes(len(self), self.generator) if len(self) else None
        self._centre = self._centre_weights()

    def _keep(self, chosen: Tensor) -> None:
        self._frames, self._pixels, self._colours = self._frames[chosen], self._pixels[chosen], self._colours[chosen]
        if self.settings.needs_losses:
            self._losses = self._losses[chosen]

    def _drop_unused_frames(self) -> None:
        used, frames = torch.unique(self._frames.long(), return_inverse=True)
        self._frames = frames.to(torch.int32)
        self._poses, self._intrinsics, self._sizes = self._poses[used], self._intrinsics[used], self._sizes[used]
