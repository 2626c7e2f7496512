"""Fill policies: which rays of the past are kept. A new one is a class and a line of `FILLS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nerfcl.metrics.image import local_contrast
from nerfcl.scenes.scene import Views
from nerfcl.streams.sampling import sample_by_region, sample_by_weight, sample_hypergeometric


@dataclass(frozen=True)
class TeacherOutput:
    """What a model renders for B pixels that it has learned.

    Attributes:
        colours: (B, 3) uint8 as rendered.
        losses: (B,) float32, mean squared error over the channels against the true colours in [0, 1].
    """

    colours: Tensor
    losses: Tensor


Teacher = Callable[[Tensor], TeacherOutput]
"""Renders the pixels of some views at (B,) flat indices."""


@dataclass(frozen=True)
class Candidates:
    """Pixels of an experience that may be kept.

    Attributes:
        indices: (N,) flat indices into the views.
        scores: (N,) what decides which are kept; None where nothing but chance does.
        output: what the model renders for them, where it was asked.
    """

    indices: Tensor
    scores: Tensor | None = None
    output: TeacherOutput | None = None

    def __len__(self) -> int:
        return len(self.indices)


class Fill:
    """The contract of a fill policy, and the policy "random": a uniform sample of every experience.

    When an experience is over, its pixels become candidates; the policy says how many of them are taken, which ones,
    and which stored rays stay. By default every experience has equal parts for each ray that it offered.
    """

    needs_losses: ClassVar[bool] = False
    """Whether each ray's loss must be kept beside it."""
    during_training: ClassVar[bool] = False
    """Whether rays are taken while an experience is learned, by `select`, instead of when it is over; their losses are
    kept then."""
    every_frame: ClassVar[bool] = True
    """Whether every frame offers rays."""

    def offers(self, views: Views) -> tuple[int, int]:
        """Count the frames and the rays that some views offer."""
        return len(views), views.pixels

    def candidates(self, views: Views, teacher: Teacher, generator: torch.Generator) -> Candidates:
        """Choose and score the pixels of some views that may be kept."""
        del teacher, generator
        return Candidates(torch.arange(views.pixels))

    def count_arriving(self, offered: int, before: int, capacity: int, generator: torch.Generator) -> int:
        """Decide how many of `offered` rays are taken, after `before` ones were offered; more than fit."""
        del generator
        return min(round(capacity * offered / (before + offered)), offered)

    def stay(self, total: int, count: int, losses: Tensor, generator: torch.Generator) -> Tensor:
        """Choose which (count,) of `total` stored rays with these losses (total,) stay."""
        del losses
        return torch.randperm(total, generator=generator)[:count]

    def take(self, candidates: Candidates, count: int, generator: torch.Generator) -> Tensor:
        """Choose the positions (count,) of the candidates that are taken."""
        return torch.randperm(len(candidates), generator=generator)[:count]

    def select(self, losses: Tensor, capacity: int) -> Tensor:
        """Choose which (capacity,) of stored and new rays with these losses (N,) are kept, in rising order."""
        raise TypeError(f"{type(self).__name__} takes no rays during training")


class Uniform(Fill):
    """Every k-th ray."""

    def stay(self, total: int, count: int, losses: Tensor, generator: torch.Generator) -> Tensor:
        return torch.arange(count) * total // max(count, 1)

    def take(self, candidates: Candidates, count: int, generator: torch.Generator) -> Tensor:
        return torch.arange(count) * len(candidates) // max(count, 1)


class Contrast(Fill):
    """More rays where the picture has contrast: with probability ∝ the colours' deviation among a pixel's neighbours,
    plus a little."""

    LEAST = 0.05  # what a flat neighbourhood weighs, as a fraction of the mean

    def candidates(self, views: Views, teacher: Teacher, generator: torch.Generator) -> Candidates:
        scores = local_contrast(views.images).flatten()
        scores += self.LEAST * scores.mean() + 1e-6
        return Candidates(torch.arange(views.pixels), scores)

    def take(self, candidates: Candidates, count: int, generator: torch.Generator) -> Tensor:
        assert candidates.scores is not None
        return sample_by_weight(candidates.scores, count, generator)


class TopK(Fill):
    """The rays of highest loss."""

    needs_losses = True

    def candidates(self, views: Views, teacher: Teacher, generator: torch.Generator) -> Candidates:
        indices = torch.arange(views.pixels)
        output = teacher(indices)
        return Candidates(indices, output.losses, output)

    def stay(self, total: int, count: int, losses: Tensor, generator: torch.Generator) -> Tensor:
        return losses.float().topk(count).indices

    def take(self, candidates: Candidates, count: int, generator: torch.Generator) -> Tensor:
        assert candidates.scores is not None
        return candidates.scores.float().topk(count).indices


class Reservoir(Fill):
    """A uniform sample of all rays so far (Vitter 1985), whatever part of each experience that is."""

    def count_arriving(self, offered: int, before: int, capacity: int, generator: torch.Generator) -> int:
        return sample_hypergeometric(offered, before, capacity, generator)


class LossGrid(Fill):
    """Of every 8th frame 2048 rays, spread over 4x4 regions in proportion to their mean loss (the reference project's
    large experiment)."""

    every_frame = False
    FRAMES, SIDE, RAYS = 8, 4, 2048  # every so many frames, regions along a side, rays of a frame

    def offers(self, views: Views) -> tuple[int, int]:
        frames = -(-len(views) // self.FRAMES)
        return frames, frames * min(self.RAYS, views.height * views.width)

    def candidates(self, views: Views, teacher: Teacher, generator: torch.Generator) -> Candidates:
        size = views.height, views.width
        indices = torch.arange(views.pixels).view(len(views), -1)[:: self.FRAMES].flatten()
        output = teacher(indices)
        drawn = sample_by_region(output.losses.view(-1, *size), self.SIDE, self.RAYS, generator)
        return Candidates(indices[drawn], output=TeacherOutput(output.colours[drawn], output.losses[drawn]))


class Highest(Fill):
    """While an experience is learned: rays of lower loss are replaced by rays just trained on."""

    during_training = True

    def select(self, losses: Tensor, capacity: int) -> Tensor:
        return losses.topk(capacity).indices.sort().values


class Lowest(Fill):
    """While an experience is learned: rays of higher loss are replaced by rays just trained on."""

    during_training = True

    def select(self, losses: Tensor, capacity: int) -> Tensor:
        return (-losses).topk(capacity).indices.sort().values


FILLS: dict[str, Fill] = {
    "random": Fill(),
    "uniform": Uniform(),
    "contrast": Contrast(),
    "topk": TopK(),
    "reservoir": Reservoir(),
    "highest": Highest(),
    "lowest": Lowest(),
    "loss-grid": LossGrid(),
}
