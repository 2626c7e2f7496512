"""The interface of a continual-learning strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from nerfcl.errors import require
from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.registry import Registry
from nerfcl.strategies import STRATEGIES
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.stream import Experience

Role = Literal["contender", "lower bound", "upper bound"]


@dataclass(frozen=True)
class Strategy:
    """How the past is used while an experience is learned. Every hook is optional; this class is plain fine-tuning.

    A strategy is a frozen dataclass of hyperparameters. What changes during training is its state: `new_state` creates
    it, every hook receives it, checkpoints save it through its `state_dict()` and `load_state_dict()`, and its `nbytes`
    count what the strategy keeps of the past. The state may be None.

    Until the first experience has ended there is no past, and every strategy must train exactly like fine-tuning, so
    that a comparison trains the first experience only once. (A memory that takes rays during training may begin to
    fill.)

    Attributes:
        role: role in comparisons. A lower bound keeps nothing of the past; an upper bound has all of it and, on a
            stream of frames, all frames at once.
        needs_boundaries: whether it must know where experiences end; not allowed on streams that do not announce it.
        from_scratch: whether each experience after the first begins with a new model and takes all steps so far.

    Example:
        >>> @dataclass(frozen=True)
        ... class Restart(Strategy):
        ...     '''A new model for each experience, without the past.'''
        ...
        ...     role = "lower bound"
        ...     from_scratch = True
        >>> Restart().role
        'lower bound'
    """

    registry: ClassVar[Registry] = STRATEGIES
    role: ClassVar[Role] = "contender"
    needs_boundaries: ClassVar[bool] = False
    from_scratch: ClassVar[bool] = False

    def new_state(self, generator: torch.Generator) -> Any:
        """Create the state before the first experience; the generator is its own source of randomness."""
        return None

    def begin(self, state: Any, experience: Experience, model: Model) -> None:
        """Prepare for an experience; the model has learned all earlier ones."""

    def resume(self, state: Any, model: Model) -> None:
        """Resume an interrupted experience, in another process; called instead of `begin`."""

    def batch(self, state: Any, new: Pixels) -> Pixels:
        """Choose the pixels to train on in this step, from B `new` ones and what is kept of the past."""
        return new

    def loss(self, state: Any, rendering: Rendering, batch: Pixels, model: Model) -> dict[str, Tensor]:
        """Compute the terms of the loss, whose sum is minimised: scalars by name, each of which is plotted over time.

        Args:
            state: state of the strategy.
            rendering: rendering of the batch.
            batch: what `batch` returned.
            model: model on whose parameters a penalty may depend.
        """
        parts = colour_losses(rendering.rgb, batch)
        if rendering.coarse is not None:
            coarse = colour_losses(rendering.coarse, batch)
            parts = {name: part + coarse[name] for name, part in parts.items()}
        return parts

    def after_backward(self, state: Any, model: Model) -> None:
        """Modify gradients, between the backward pass and the optimiser's step."""

    def end(self, state: Any, experience: Experience, model: Model) -> None:
        """Store what is to be kept of an experience, after its last step; the model is the one that is evaluated."""

    def metrics(self, state: Any) -> dict[str, float]:
        """Return values of the state to plot over time, by name."""
        return {}


def colour_losses(rgb: Tensor, batch: Pixels) -> dict[str, Tensor]:
    """Compute mean squared errors: "new" for new pixels, "replay" for past ones, "distill" for soft targets.

    Every pixel has the same weight: with k times as many past pixels as new ones, "replay" is k times their mean error.
    A term without pixels is omitted; a batch of past pixels only counts as new.

    Args:
        rgb: (B, 3) rendered colours.
        batch: the pixels that were rendered.
    """
    new, colours = batch.new or len(batch), batch.colours.to(rgb.device)
    parts = {"new": mse_loss(rgb[:new], colours[:new])}
    if new < len(batch):
        parts["replay"] = mse_loss(rgb[new:], colours[new:]) * ((len(batch) - new) / new)
    if batch.soft is not None:
        parts["distill"] = mse_loss(rgb[:new], batch.soft.to(rgb.device))
    return parts


def mean_opacity(opacity: Tensor, batch: Pixels) -> Tensor:
    """Compute the sum of the pixels' opacity (B,) over the number of new ones, as in `colour_losses`."""
    return opacity.sum() / (batch.new or len(batch))


def squared_errors(rgb: Tensor, batch: Pixels) -> Tensor:
    """Compute the squared errors (B,) of rendered colours (B, 3), averaged over channels."""
    return (rgb - batch.colours.to(rgb.device)).square().mean(-1)


def check_replay_fraction(strategy: Any) -> None:
    """Reject a `replay_fraction` that leaves no new rays, or takes more of them than are offered.

    Raises:
        NerfclError: it is not at least 0.5 and below 1.
    """
    require(0.5 <= strategy.replay_fraction < 1.0, strategy, "replay_fraction", "must be at least 0.5 and below 1")


def split_batch(offered: int, replay_fraction: float) -> tuple[int, int]:
    """Return the numbers of new and past pixels of a step, which has twice as many pixels as are offered."""
    past = min(round(2 * offered * replay_fraction), 2 * offered - 1)
    return 2 * offered - past, past
