"""Who is told how a run goes: one kind of callback, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nerfcl.training.learner import Learner


@dataclass(frozen=True)
class StepReport:
    """One training step.

    Attributes:
        step: steps so far over the whole stream, this one included.
        last_step: number of the stream's last step.
        task: name of the experience.
        epoch: whole passes over the experiences' rays since the beginning.
        losses: parts of the loss by name, and "psnr" of the new rays; read at every tenth step and at the last, since
            reading waits for the device; None at others.
        learning_rate: of this step.
        rays: rays of the batch, old ones included.
        samples: points at which the field was evaluated.
        seconds: training seconds so far.
        metrics: of the strategy's state, by name; read with the losses.

    Example:
        >>> losses = {"new": 0.02, "replay": 0.01, "psnr": 17.0}
        >>> report = StepReport(
        ...     step=10, last_step=600, task="left", epoch=1, losses=losses, learning_rate=0.02, rays=2048,
        ...     samples=16_000, seconds=0.1
        ... )
        >>> report.loss
        0.03
    """

    step: int
    last_step: int
    task: str
    epoch: int
    losses: dict[str, float] | None
    learning_rate: float
    rays: int
    samples: int
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def loss(self) -> float | None:
        """The sum of its parts, where they were read."""
        return None if self.losses is None else sum(part for name, part in self.losses.items() if name != "psnr")


class Callback:
    """Is told how a run goes: progress bars, event files, checkpoints. Override what is of interest.

    A callback may read the learner and save it, but must not change it. Callbacks are called in the order in which they
    were given, in the thread that trains. What one raises ends the training.

    Example:
        >>> class StopAfter(Callback):
        ...     def __init__(self, steps):
        ...         self.steps = steps
        ...
        ...     def on_step(self, learner, report):
        ...         return report.step >= self.steps
    """

    def on_step(self, learner: Learner, report: StepReport) -> bool | None:
        """Note a training step, after `on_evaluation` if there was one; return True to stop the training here.

        An experience that is stopped at its last step is not over yet: `learn`, called again, ends it.
        """

    def on_evaluation(self, learner: Learner) -> None:
        """Note that the learner's history got a new validation or a new frame of the watched view."""

    def on_experience_end(self, learner: Learner) -> None:
        """Note that an experience was learned, tested where that was due, and counts as done."""
