"""Checkpoints: everything that is needed to go on, or to render, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerfcl.errors import NerfclError
from nerfcl.files import written_aside
from nerfcl.models.rendering.model import Model
from nerfcl.models.settings import ModelSettings, settings_from_dict, settings_to_dict
from nerfcl.streams.sampling import Passes
from nerfcl.training.learner import History, Learner
from nerfcl.training.optimisation import OptimisationSettings, ParameterMean, make_optimiser, mean_of

_FORMAT = "nerfcl checkpoint 2"


@dataclass(frozen=True)
class Checkpoint:
    """A learner, between two experiences or within one.

    Attributes:
        run: what the run was configured with, as in its config.json.
        model_settings: how to build the model.
        model: the model's state.
        strategy_state: the strategy's state, None if it has none.
        history: what is known of the run so far.
        done, at, epochs: where it stands; see `Learner`.
        optimiser: the optimiser's state, None before the first step.
        mean: that of the running mean of the parameters, None without one.
        order, generator: of the present experience's randomness, None between two.
    """

    run: dict[str, Any]
    model_settings: ModelSettings
    model: Mapping[str, Any]
    strategy_state: dict[str, Any] | None
    history: History
    done: int
    at: int
    epochs: int
    optimiser: dict[str, Any] | None
    mean: dict[str, Any] | None
    order: dict[str, Any] | None
    generator: torch.Tensor | None


def save_checkpoint(
    path: Path,
    learner: Learner,
    run: dict[str, Any],
    model_settings: ModelSettings,
    *,
    with_optimiser: bool = True,
) -> None:
    """Writes a checkpoint aside and renames it, so that there is either all of it or nothing.

    Args:
        path: the file.
        learner: what is saved.
        run: what the run was configured with.
        model_settings: how to build the model.
        with_optimiser: whether what comes next needs the optimiser's state; it is larger than all the rest.

    Raises:
        NerfclError: the file cannot be written.
    """
    history = dict(vars(learner.history))
    history["frames"] = [(where, torch.from_numpy(image)) for where, image in learner.history.frames]
    history["pictures"] = [
        {i: torch.from_numpy(image) for i, image in images.items()} for images in learner.history.pictures
    ]
    content = {
        "format": _FORMAT,
        "run": run,
        "model_settings": settings_to_dict(model_settings),
        "model": learner.model.state_dict(),
        "strategy_state": None if learner.state is None else learner.state.state_dict(),
        "history": history,
        "done": learner.done,
        "at": learner.at,
        "epochs": learner.epochs,
        "optimiser": learner.optimiser.state_dict() if learner.optimiser is not None and with_optimiser else None,
        "mean": None if learner.mean is None else learner.mean.state_dict(),
        "order": learner.order.state_dict() if learner.order is not None and learner.at else None,
        "generator": learner.generator.get_state() if learner.at else None,
    }
    with written_aside(path) as aside:
        try:
            torch.save(content, aside)
        except RuntimeError as error:  # torch's writer does not raise OSError when the disk is full
            raise OSError(str(error)) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint, without running code from it.

    Raises:
        NerfclError: there is no such file, or it is damaged or something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise NerfclError(f"{path}: no such checkpoint; a run writes one after each task") from None
    except Exception:  # the unpickler raises whatever the bytes of a strange file lead it to
        raise NerfclError(
            f"{path}: is not a nerfcl checkpoint, or is damaged; name a .pt file that a run wrote"
        ) from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise NerfclError(f"{path}: is not a nerfcl checkpoint of this version; name a .pt file that a run wrote")
    history = content["history"]
    history["frames"] = [(where, np.asarray(image)) for where, image in history["frames"]]
    history["pictures"] = [{i: np.asarray(image) for i, image in images.items()} for images in history["pictures"]]
    progress = {name: content[name] for name in ("done", "at", "epochs", "optimiser", "order", "generator")}
    return Checkpoint(
        content["run"],
        settings_from_dict(content["model_settings"]),
        content["model"],
        content["strategy_state"],
        History(**history),
        mean=content.get("mean"),
        **progress,
    )


def shown_model(checkpoint: Checkpoint, device: torch.device | str = "cpu") -> Model:
    """The model that the checkpoint's learner would render views with; see `Learner.shown`."""
    model = checkpoint.model_settings.build(0, device)
    model.load_state_dict(checkpoint.model)
    if checkpoint.mean is None:
        return model
    mean = ParameterMean(model.parameters(), 0.0)
    mean.load_state_dict(checkpoint.mean)
    return mean.applied_to(model)


def resume(learner: Learner, checkpoint: Checkpoint, optimisation: OptimisationSettings) -> None:
    """Puts a new learner where the checkpoint's learner stood.

    Raises:
        NerfclError: the checkpoint's model or optimiser is of another kind than the learner's.
    """
    try:
        learner.model.load_state_dict(checkpoint.model)
        if checkpoint.strategy_state is not None and learner.state is not None:
            learner.state.load_state_dict(checkpoint.strategy_state)
        if checkpoint.optimiser is not None:
            learner.optimiser = make_optimiser(learner.model.parameters(), optimisation)
            learner.optimiser.load_state_dict(checkpoint.optimiser)
        learner.mean = mean_of(learner.model.parameters(), optimisation)
        if learner.mean is not None and checkpoint.mean is not None:
            learner.mean.load_state_dict(checkpoint.mean)
    except (KeyError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise NerfclError(
            f"the checkpoint holds something else than this run trains ({reason}); use the field, the strategy and the "
            "optimiser that it was trained with"
        ) from error
    learner.history, learner.done = checkpoint.history, checkpoint.done
    learner.at, learner.epochs = checkpoint.at, checkpoint.epochs
    if checkpoint.order is not None and checkpoint.generator is not None:
        learner.order = Passes(1, learner.generator)
        learner.order.load_state_dict(checkpoint.order)
        learner.generator.set_state(checkpoint.generator)
