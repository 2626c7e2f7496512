"""The contract of a continual-learning strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.tasks import Experience, Stream


@dataclass(frozen=True)
class Strategy:
    """How the past is used while learning the present. Every hook is optional; this class is plain fine-tuning.

    A strategy is a frozen dataclass of knobs. What changes while learning is its state, made by `new_state`, handed to
    every hook, saved in checkpoints through the state's `state_dict()` and `load_state_dict()`, and counted by its
    `nbytes`. None is a state, too. Until the first experience has ended there is no past: up to there every strategy
    must train as fine-tuning does, so that comparisons train the first experience once.

    Attributes:
        needs_boundaries: it must be told where experiences end; streams that do not announce it refuse it.
        from_scratch: each experience after the first begins with a new model and takes all steps so far.
    """

    needs_boundaries: ClassVar[bool] = False
    from_scratch: ClassVar[bool] = False

    @property
    def watches_steps(self) -> bool:
        """Whether it takes something from each step, so that another strategy cannot learn its first experience."""
        return False

    def within(self, budget: int, stream: Stream) -> dict[str, int] | None:
        """The knobs with which at most `budget` bytes are kept of a stream, none larger than it takes to keep all.

        Empty where no knob decides how many bytes those are; None where so few are of no use.
        """
        return {}

    def new_state(self, generator: torch.Generator) -> Any:
        """State before the first experience; randomness comes from `generator`, which belongs to the state."""
        return None

    def begin(self, state: Any, experience: Experience, model: Model) -> None:
        """Before an experience; the model has learned all those before it."""

    def resume(self, state: Any, model: Model) -> None:
        """An experience that was left off is taken up again, in another process; called instead of `begin`."""

    def batch(self, state: Any, new: Pixels) -> Pixels:
        """The pixels to train on in this step, from `new` ones of the present (B of them) and what was kept."""
        return new

    def loss(self, state: Any, rendering: Rendering, batch: Pixels) -> dict[str, Tensor]:
        """Named parts (scalars) of a rendered batch's loss; their sum is minimised."""
        parts = colour_losses(rendering.rgb, batch)
        if rendering.coarse is not None:
            coarse = colour_losses(rendering.coarse, batch)
            parts = {name: part + coarse[name] for name, part in parts.items()}
        return parts

    def figures(self, state: Any) -> dict[str, float]:
        """Figures about the state that are worth a curve, by name."""
        return {}

    def after_backward(self, state: Any, model: Model) -> None:
        """Between the backward pass and the optimiser's step: gradients may be changed here."""

    def end(self, state: Any, experience: Experience, model: Model) -> None:
        """After an experience: what is to be kept of it must be taken now."""


def colour_losses(rgb: Tensor, batch: Pixels) -> dict[str, Tensor]:
    """Mean squared errors: "new" over the present's pixels, "replay" over the past's, "soft" against soft targets.

    Every pixel weighs the same: where there are k times as many of the past as of the present, "replay" is k times its
    mean. Where there are none, the part is missing; a batch of the past only counts as new.

    Args:
        rgb: (B, 3) rendered colours.
        batch: the pixels they belong to.
    """
    errors = squared_errors(rgb, batch)
    if not batch.new:
        return {"new": errors.mean()}
    parts = {"new": errors[: batch.new].mean()}
    if batch.new < len(batch):
        parts["replay"] = errors[batch.new :].mean() * ((len(batch) - batch.new) / batch.new)
    if batch.soft is not None:
        parts["soft"] = (rgb[: batch.new] - batch.soft.to(rgb.device)).square().mean()
    return parts


def squared_errors(rgb: Tensor, batch: Pixels) -> Tensor:
    """(B,) mean over channels of the squared error of (B, 3) rendered colours."""
    return (rgb - batch.colours.to(rgb.device)).square().mean(-1)


def split(offered: int, past_share: float) -> tuple[int, int]:
    """How many of a step's pixels are of the present and of the past: twice as many as the present offers.

    Raises:
        NerfclError: the past's share leaves nothing to the present, or asks more of it than it offers.
    """
    if not 0.5 <= past_share < 1.0:
        raise NerfclError(f"--past-share {past_share}: must be at least 0.5 and below 1")
    past = min(round(2 * offered * past_share), 2 * offered - 1)
    return 2 * offered - past, past
