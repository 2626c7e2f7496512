"""Draw policies: which of the stored rays are replayed. To add one, write a class and list it in `DRAWS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from nerfcl.streams.sampling import sample_by_weight, sample_others

if TYPE_CHECKING:
    from nerfcl.memory.rays import RayMemory


class Draw:
    """Interface of draw policies, and the policy "random": all rays, epoch after epoch."""

    needs_losses: ClassVar[bool] = False
    """Whether each ray's loss must be stored."""
    uses_weights: ClassVar[bool] = False
    """Whether it uses `RayMemory.weights` and exploration, so that their settings apply."""

    def draw(self, memory: RayMemory, count: int) -> Tensor:
        """Choose the indices (count,) of the rays to replay; the memory is not empty."""
        return memory.sampler.next(count)


class Weighted(Draw):
    """Draws without replacement, with probability ∝ weight; a fraction comes uniformly from the others."""

    needs_losses = True
    uses_weights = True

    def draw(self, memory: RayMemory, count: int) -> Tensor:
        whole, rest = divmod(count, len(memory))
        exploring = int(rest * memory.settings.exploration)
        drawn = sample_by_weight(memory.weights(), rest - exploring, memory.generator)
        drawn = torch.cat([drawn, sample_others(len(memory), drawn, exploring, memory.generator)])
        return _after_all(memory, whole, drawn)


class TopK(Draw):
    """Draws only the rays of highest loss."""

    needs_losses = True

    def draw(self, memory: RayMemory, count: int) -> Tensor:
        whole, rest = divmod(count, len(memory))
        return _after_all(memory, whole, memory.losses.topk(rest).indices)


def _after_all(memory: RayMemory, times: int, drawn: Tensor) -> Tensor:
    """Prepend all rays, repeated `times` times, to the drawn ones."""
    return torch.cat([torch.arange(len(memory)).repeat(times), drawn]) if times else drawn


DRAWS: dict[str, Draw] = {"random": Draw(), "weighted": Weighted(), "topk": TopK()}
