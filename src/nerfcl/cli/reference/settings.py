"""What train.py and train_online.py have in common: settings from flags."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from importlib.metadata import version

from nerfcl.cli.reference.scene import sampling_of
from nerfcl.experiments.runs import OPTIMISATION
from nerfcl.models.settings import GridModel, ModelSettings, NerfModel
from nerfcl.scenes import Scene
from nerfcl.training.optimisation import OptimisationSettings

WATCHED = 8  # validation views of a task
NEVER = 2**62  # steps
PLACES = ("device", "chunk", "exp_name", "val_after_n_epochs")  # flags that do not decide what is learned
VERSIONS = {"versions": {name: version(name) for name in ("nerfcl", "torch")}}
DRAWS = {"random": "random", "weighted_random": "weighted", "topk": "topk"}
_SCHEDULES = {"steplr": "step", "cosine": "cosine", "poly": "poly"}


def optimisation_of(options: Namespace) -> OptimisationSettings:
    """Which optimiser, and how its learning rate goes."""
    return replace(
        OPTIMISATION[options.field],
        optimiser=options.optimizer,
        learning_rate=options.lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        schedule=_SCHEDULES[options.lr_scheduler],
        decay_epochs=tuple(options.decay_step),
        decay_gamma=options.decay_gamma,
        poly_exponent=options.poly_exp,
        schedule_epochs=options.num_epochs,
        warmup_epochs=options.warmup_epochs,
        warmup_multiplier=options.warmup_multiplier,
    )


def model_of(options: Namespace, scene: Scene) -> ModelSettings:
    """What is learned."""
    if options.field == "nerf":
        return NerfModel.for_scene(scene, **sampling_of(options))
    return GridModel.for_scene(scene)
