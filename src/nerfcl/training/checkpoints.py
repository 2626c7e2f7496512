"""Checkpoints: everything needed to resume training, or to render, in one file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nerfcl.errors import NerfclError
from nerfcl.files import written_aside
from nerfcl.models.rendering.model import Model, ModelSettings
from nerfcl.serialisation import from_plain, to_plain
from nerfcl.streams.sampling import EpochSampler
from nerfcl.training.archives import read_tensors, tensors_in
from nerfcl.training.ema import Ema, make_ema
from nerfcl.training.history import History
from nerfcl.training.history_io import history_from_plain, history_to_plain
from nerfcl.training.learner import Learner
from nerfcl.training.migration import migrated
from nerfcl.training.optimisers import make_optimiser
from nerfcl.training.settings import OptimiserSettings

FORMAT = "nerfcl checkpoint 4"

# What restoring from a file of another kind, or from an edited one, may raise.
_DO_NOT_FIT = (AttributeError, IndexError, KeyError, OSError, OverflowError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Checkpoint:
    """State of a learner, between two experiences or within one.

    Attributes:
        experiment: description of the experiment, as plain values; None in files of version 0.1.
        options: options of the command that wrote a file of version 0.1.
        extra: additional data that its writer needs to resume.
        data: digest of the scene that was learned; None if frames came from elsewhere, or in files of version 0.1.
        model_settings: settings that build the model.
        model: state of the model.
        strategy_state: state of the strategy; None if it has none.
        history: record of the run so far.
        done, at, epochs: position in the stream; see `Learner`.
        optimiser: state of the optimiser; None before the first step, or if it was not saved.
        ema: state of the moving average of the parameters; None without one.
        sampler, generator: random state of the current experience; None between two.
    """

    experiment: dict[str, Any] | None
    model_settings: ModelSettings
    model: Mapping[str, Any]
    strategy_state: dict[str, Any] | None
    history: History
    done: int
    at: int
    epochs: int
    optimiser: dict[str, Any] | None
    ema: dict[str, Any] | None
    sampler: dict[str, Any] | None
    generator: torch.Tensor | None
    data: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(
    path: Path,
    learner: Learner,
    experiment: dict[str, Any],
    model_settings: ModelSettings,
    *,
    data: dict[str, Any] | None = None,
    extra: dict[str, Any] | None = None,
    with_optimiser: bool = True,
    keep_previous: bool = False,
) -> None:
    """Write a checkpoint atomically: to a temporary file, which is then renamed.

    Args:
        path: file to write.
        learner: learner to save.
        experiment: description of the experiment, as plain values.
        model_settings: settings that build the model.
        data: digest of the scene, if there is one.
        extra: additional data needed to resume: plain values and tensors.
        with_optimiser: whether to save the optimiser's state, which is larger than everything else together.
        keep_previous: whether an existing file is kept as `previous_of(path)`, in case the new one is damaged later.

    Raises:
        NerfclError: the file cannot be written.
    """
    content = {
        "format": FORMAT,
        "experiment": experiment,
        "data": data,
        "extra": extra or {},
        "model_settings": to_plain(model_settings),
        "model": learner.model.state_dict(),
        "strategy_state": None if learner.state is None else learner.state.state_dict(),
        "history": history_to_plain(learner.history),
        "done": learner.done,
        "at": learner.at,
        "epochs": learner.epochs,
        "optimiser": learner.optimiser.state_dict() if learner.optimiser is not None and with_optimiser else None,
        "ema": None if learner.ema is None else learner.ema.state_dict(),
        "sampler": learner.sampler.state_dict() if learner.sampler is not None and learner.at else None,
        "generator": learner.generator.get_state() if learner.at else None,
    }
    if keep_previous and path.exists():
        _keep(path, previous_of(path))
    save_tensors(path, content)


def _keep(path: Path, as_path: Path) -> None:
    """Keep a file's content under another name, too, without a moment in which `path` does not exist."""
    try:
        with suppress(FileNotFoundError):
            as_path.unlink()
        os.link(path, as_path)
    except OSError:  # a file system without hard links
        os.replace(path, as_path)


def previous_of(path: Path) -> Path:
    """Return where a checkpoint that is replaced regularly keeps its previous version."""
    return path.with_stem(f"{path.stem}-previous")


def save_tensors(path: Path, content: Any) -> None:
    """Write tensors and plain values atomically with `torch.save`.

    Raises:
        NerfclError: the file cannot be written.
    """
    with written_aside(path) as aside, aside.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch replaces errors of the file by its own
            raise (error.__context__ if isinstance(error.__context__, OSError) else OSError(str(error))) from None


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without executing code from it, and check that it is intact; migrate files of version 0.1.

    Raises:
        NerfclError: the file is missing, damaged, or not a checkpoint.
    """
    if not path.exists():
        raise NerfclError(f"{path}: no such checkpoint; a run writes one after each task")
    content = read_tensors(path, "a nerfcl checkpoint; give a .pt or .ckpt file written by a run")
    try:
        content = migrated(content, path)
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise NerfclError(f"{path}: is not a nerfcl checkpoint; give a .pt or .ckpt file written by a run")
        checkpoint = Checkpoint(
            model_settings=from_plain(ModelSettings, content.pop("model_settings")),
            history=history_from_plain(content.pop("history")),
            **content,
        )
        _check_parts(checkpoint)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NerfclError(f"{path}: is not a complete checkpoint ({error!r}); use another one") from None
    except NerfclError as error:
        raise error if str(error).startswith(str(path)) else NerfclError(f"{path}: ", *error.args) from None
    return checkpoint


def load_newest(paths: Iterable[Path]) -> tuple[Checkpoint, Path] | None:
    """Read the first intact checkpoint of several, newest first.

    Damaged ones are reported on standard error, and renamed, as to "latest-damaged.pt", so that they replace no others.

    Returns:
        The checkpoint and its path; None if there is none, or none is intact.
    """
    damaged = False
    for path in paths:
        if not path.exists():
            continue
        try:
            found = load_checkpoint(path), path
        except NerfclError as error:
            print(f"nerfcl: {error}", file=sys.stderr)
            damaged = True
            if os.access(path, os.R_OK):
                with suppress(OSError):
                    path.rename(path.with_stem(f"{path.stem}-damaged"))
            continue
        if damaged:
            print(f"nerfcl: resuming from {path}", file=sys.stderr)
        return found
    if damaged:
        print("nerfcl: no earlier checkpoint is intact; starting over", file=sys.stderr)
    return None


def _check_parts(checkpoint: Checkpoint) -> None:
    """Reject parts of wrong types, and values that are not finite, as training never saves them.

    Raises:
        TypeError, ValueError: says what is wrong.
    """
    kinds = {
        "experiment": (dict, type(None)),
        "options": dict,
        "extra": dict,
        "data": (dict, type(None)),
        "model": Mapping,
        "strategy_state": (dict, type(None)),
        "optimiser": (dict, type(None)),
        "ema": (dict, type(None)),
        "sampler": (dict, type(None)),
        "generator": (torch.Tensor, type(None)),
        "done": int,
        "at": int,
        "epochs": int,
    }
    for name, kind in kinds.items():
        value = getattr(checkpoint, name)
        if not isinstance(value, kind):
            raise TypeError(f"'{name}' is {type(value).__name__}")
        if kind is int and value < 0:
            raise ValueError(f"'{name}' is {value}")
    for name in ("model", "optimiser", "ema", "strategy_state"):
        for tensor in tensors_in(getattr(checkpoint, name)):
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"'{name}' has values that are not finite")


def evaluated_model(checkpoint: Checkpoint, device: torch.device | str = "cpu") -> Model:
    """Build the model that the checkpoint's learner would render with; see `Learner.evaluated_model`.

    Raises:
        NerfclError: the checkpoint's parts do not fit together.
    """
    try:
        model = checkpoint.model_settings.build(0, device)
        model.load_state_dict(checkpoint.model)
        if checkpoint.ema is None:
            return model
        ema = Ema(model.parameters(), 0.0)
        ema.load_state_dict(checkpoint.ema)
        return ema.applied_to(model)
    except _DO_NOT_FIT as error:
        raise NerfclError(
            f"the checkpoint's parts do not fit together ({_first_line(error)}); use another one"
        ) from None


def resume(learner: Learner, checkpoint: Checkpoint, optimiser: OptimiserSettings) -> None:
    """Restore a new learner from a checkpoint.

    Args:
        learner: learner to restore; modified.
        checkpoint: checkpoint to restore from.
        optimiser: settings of the optimiser to resume with.

    Raises:
        NerfclError: the checkpoint does not fit the learner's model, strategy or optimiser.
    """
    try:
        learner.model.load_state_dict(checkpoint.model)
        if checkpoint.strategy_state is not None and learner.state is not None:
            learner.state.load_state_dict(checkpoint.strategy_state)
        if checkpoint.optimiser is not None:
            learner.optimiser = make_optimiser(learner.model.parameters(), optimiser)
            learner.optimiser.load_state_dict(checkpoint.optimiser)
        learner.ema = make_ema(learner.model.parameters(), optimiser)
        if learner.ema is not None and checkpoint.ema is not None:
            learner.ema.load_state_dict(checkpoint.ema)
        learner.epochs = checkpoint.epochs
        if checkpoint.sampler is not None and checkpoint.generator is not None:
            learner.sampler = EpochSampler(1, learner.generator)
            learner.sampler.load_state_dict(checkpoint.sampler)
            learner.generator.set_state(checkpoint.generator)
    except _DO_NOT_FIT as error:
        raise NerfclError(
            f"the checkpoint does not match what this run trains ({_first_line(error)}); use the field, the strategy "
            "and the optimiser that it was trained with"
        ) from error
    learner.history, learner.done = checkpoint.history, checkpoint.done
    learner.at = checkpoint.at


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
