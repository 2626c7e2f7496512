"""Fill policies: which rays of the past are kept. To add one, write a class and list it in `FILLS`."""

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
        losses: (B,) float32, squared errors against the true colours in [0, 1], averaged over channels.
    """

    colours: Tensor
    losses: Tensor


Teacher = Callable[[Tensor], TeacherOutput]
"""Renders pixels of a fixed set of views, given (B,) flat indices."""


@dataclass(frozen=True)
class Candidates:
    """Pixels of an experience that may be kept.

    Attributes:
        indices: (N,) flat indices into the views.
        scores: (N,) scores that decide which are kept; None if the policy needs none.
        output: what the model renders for them, if it was evaluated.
    """

    indices: Tensor
    scores: Tensor | None = None
    output: TeacherOutput | None = None

    def __len__(self) -> int:
        return len(self.indices)


class Fill:
    """Interface of fill policies, and the policy "random": a uniform sample of every experience.

    At the end of an experience its pixels become candidates; the policy decides how many of them are taken, which ones,
    and which stored rays stay. By default every experience is kept in proportion to the rays that it offered.
    """

    needs_losses: ClassVar[bool] = False
    """Whether each ray's loss must be stored."""
    during_training: ClassVar[bool] = False
    """Whether rays are taken while an experience is learned, by `select`, instead of at its end; losses are then
    stored."""
    every_frame: ClassVar[bool] = True
    """Whether every frame offers rays."""

    def offers(self, views: Views) -> tuple[int, int]:
        """Count the frames and the rays that views offer."""
        return len(views), views.pixels

    def candidates(self, views: Views, teacher: Teacher, generator: torch.Generator) -> Candidates:
        """Choose and score the pixels of views that may be kept."""
        del teacher, generator
        return Candidates(torch.arange(views.pixels))

    def count_arriving(self, offered: int, before: int, capacity: int, generator: torch.Generator) -> int:
        """Decide how many of `offered` rays are taken, after `before` earlier ones, if not all of them fit."""
        del generator
        return min(round(capacity * offered / (before + offered)), offered)

    def stay(self, total: int, count: int, losses: Tensor, generator: torch.Generator) -> Tensor:
        """Choose the indices (count,) of the stored rays that stay, given the losses (total,) of all."""
        del losses
        return torch.randperm(total, generator=generator)[:count]

    def take(self, candidates: Candidates, count: int, generator: torch.Generator) -> Tensor:
        """Choose the indices (count,) of the candidates that are taken."""
        return torch.randperm(len(candidates), generator=generator)[:count]

    def select(self, losses: Tensor, capacity: int) -> Tensor:
        """Choose which (capacity,) of stored and new rays with these losses (N,) are kept, in ascending order."""
        raise TypeError(f"{type(self).__name__} takes no rays during training")


class Uniform(Fill):
    """Keeps every k-th ray."""

    def stay(self, total: int, count: int, losses: Tensor, generator: torch.Generator) -> Tensor:
        return torch.arange(count) * total // max(count, 1)

    def take(self, candidates: Candidates, count: int, generator: torch.Generator) -> Tensor:
        return torch.arange(count) * len(candidates) // max(count, 1)


class Contrast(Fill):
    """Keeps more rays where images have contrast: with probability ∝ `local_contrast` plus a small constant."""

    LEAST = 0.05  # the constant, as a fraction of the mean contrast

    def candidates(self, views: Views, teacher: Teacher, generator: torch.Generator) -> Candidates:
        scores = local_contrast(views.images).flatten()
        scores += self.LEAST * scores.mean() + 1e-6
        return Candidates(torch.arange(views.pixels), scores)

    def take(self, candidates: Candidates, count: int, generator: torch.Generator) -> Tensor:
        assert candidates.scores is not None
        return sample_by_weight(candidates.scores, count, generator)


class TopK(Fill):
    """Keeps the rays of highest loss."""

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
    """Keeps a uniform sample of all rays so far (Vitter 1985); the number from each experience is random."""

    def count_arriving(self, offered: int, before: int, capacity: int, generator: torch.Generator) -> int:
        return sample_hypergeometric(offered, before, capacity, generator)


class LossGrid(Fill):
    """Keeps 2048 rays of every 8th frame, spread over 4x4 regions in proportion to their mean loss (the reference
    project's large experiment)."""

    every_frame = False
    FRAMES, SIDE, RAYS = 8, 4, 2048  # frame interval, regions along each side, rays per frame

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
    """Replaces rays of lower loss by rays just trained on, while an experience is learned."""

    during_training = True

    def select(self, losses: Tensor, capacity: int) -> Tensor:
        return losses.topk(capacity).indices.sort().values


class Lowest(Fill):
    """Replaces rays of higher loss by rays just trained on, while an experience is learned."""

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
