"""The contract of a continual-learning strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from nerfcl.errors import require
from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.registry import Registry
from nerfcl.strategies import STRATEGIES
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.stream import Experience

Role = Literal["contender", "lower bound", "upper bound"]


@dataclass(frozen=True)
class Strategy:
    """How the past is used while the present is learned. Every hook is optional; this class is plain fine-tuning.

    A strategy is a frozen dataclass of hyperparameters. What changes while learning is its state: `new_state` makes it,
    every hook gets it, checkpoints save it through the state's `state_dict()` and `load_state_dict()`, and its `nbytes`
    are what the strategy keeps of the past. None is a state, too.

    Until the first experience has ended there is no past: up to there every strategy must train as fine-tuning does,
    so that a comparison trains the first experience once. (Only a memory that takes rays during training may begin to
    fill.)

    Attributes:
        role: what it is in a comparison. A lower bound keeps nothing of the past; an upper bound has all of it, and on
            a stream of frames all frames at once.
        needs_boundaries: it must be told where experiences end; streams that do not announce it refuse it.
        from_scratch: each experience after the first begins with a new model and takes all steps so far.

    Example:
        >>> @dataclass(frozen=True)
        ... class Damped(Strategy):
        ...     '''Fine-tuning whose new colours count half once there is a past.'''
        ...
        ...     def new_state(self, generator):
        ...         return None
        ...
        ...     def loss(self, state, rendering, batch, model):
        ...         return {name: 0.5 * part for name, part in super().loss(state, rendering, batch, model).items()}
        >>> Damped().role
        'contender'
    """

    registry: ClassVar[Registry] = STRATEGIES
    role: ClassVar[Role] = "contender"
    needs_boundaries: ClassVar[bool] = False
    from_scratch: ClassVar[bool] = False

    def new_state(self, generator: torch.Generator) -> Any:
        """Make the state before the first experience; the generator belongs to it and is its source of randomness."""
        return None

    def begin(self, state: Any, experience: Experience, model: Model) -> None:
        """Prepare for an experience; the model has learned all those before it."""

    def resume(self, state: Any, model: Model) -> None:
        """Go on with an experience that was left off, in another process; called instead of `begin`."""

    def batch(self, state: Any, new: Pixels) -> Pixels:
        """Choose the pixels to train on in this step, from `new` ones of the present (B of them) and what was kept."""
        return new

    def loss(self, state: Any, rendering: Rendering, batch: Pixels, model: Model) -> dict[str, Tensor]:
        """Compute the parts of the loss, whose sum is minimised: scalars by any name; curves are drawn of each.

        Args:
            state: of the strategy.
            rendering: of the batch.
            batch: what `batch` returned.
            model: whose parameters a penalty may depend on.
        """
        parts = colour_losses(rendering.rgb, batch)
        if rendering.coarse is not None:
            coarse = colour_losses(rendering.coarse, batch)
            parts = {name: part + coarse[name] for name, part in parts.items()}
        return parts

    def after_backward(self, state: Any, model: Model) -> None:
        """Change gradients, between the backward pass and the optimiser's step."""

    def end(self, state: Any, experience: Experience, model: Model) -> None:
        """Take what is to be kept of an experience, after its last step; the model is the one that is evaluated."""

    def metrics(self, state: Any) -> dict[str, float]:
        """Return values of the state that are worth a curve, by name."""
        return {}


def colour_losses(rgb: Tensor, batch: Pixels) -> dict[str, Tensor]:
    """Compute mean squared errors: "new" of the present's pixels, "replay" of the past's, "distill" of soft targets.

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
        parts["distill"] = (rgb[: batch.new] - batch.soft.to(rgb.device)).square().mean()
    return parts


def squared_errors(rgb: Tensor, batch: Pixels) -> Tensor:
    """Compute the squared errors (B,) of rendered colours (B, 3), a mean over the channels."""
    return (rgb - batch.colours.to(rgb.device)).square().mean(-1)


def check_replay_fraction(strategy: Any) -> None:
    """Refuse a `replay_fraction` that leaves nothing to the present, or asks more of it than it offers.

    Raises:
        NerfclError: it is not at least 0.5 and below 1.
    """
    require(0.5 <= strategy.replay_fraction < 1.0, strategy, "replay_fraction", "must be at least 0.5 and below 1")


def split_batch(offered: int, replay_fraction: float) -> tuple[int, int]:
    """Divide a step's pixels, twice as many as the present offers, between the present and the past."""
    past = min(round(2 * offered * replay_fraction), 2 * offered - 1)
    return 2 * offered - past, past
