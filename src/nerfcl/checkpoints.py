"""Checkpoints: everything that is needed to go on, or to render, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerfcl.errors import NerfclError
from nerfcl.files import written_aside
from nerfcl.models import ModelSettings, settings_from_dict, settings_to_dict
from nerfcl.training import History, Learner

_FORMAT = "nerfcl checkpoint 1"


@dataclass(frozen=True)
class Checkpoint:
    """A learner between two experiences.

    Attributes:
        run: what the run was configured with, as in its config.json.
        model_settings: how to build the model.
        model: the model's state.
        strategy_state: the strategy's state, None if it has none.
        history: what is known of the run so far.
        done: experiences that are over.
    """

    run: dict[str, Any]
    model_settings: ModelSettings
    model: Mapping[str, Any]
    strategy_state: dict[str, Any] | None
    history: History
    done: int


def save_checkpoint(path: Path, learner: Learner, run: dict[str, Any], model_settings: ModelSettings) -> None:
    """Writes a checkpoint aside and renames it, so that there is either all of it or nothing.

    Raises:
        NerfclError: the file cannot be written.
    """
    history = asdict(learner.history)
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
    return Checkpoint(
        content["run"],
        settings_from_dict(content["model_settings"]),
        content["model"],
        content["strategy_state"],
        History(**history),
        content["done"],
    )


def resume(learner: Learner, checkpoint: Checkpoint) -> None:
    """Puts a new learner where the checkpoint's learner stood."""
    learner.model.load_state_dict(checkpoint.model)
    if checkpoint.strategy_state is not None:
        learner.state.load_state_dict(checkpoint.strategy_state)
    learner.history, learner.done = checkpoint.history, checkpoint.done
