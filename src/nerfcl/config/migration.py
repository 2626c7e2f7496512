"""Migration of descriptions of version 0.1, which were flat options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nerfcl.config.comparison import Comparison
from nerfcl.config.configurations import ConfigurationText, parse_budgets
from nerfcl.config.experiment import Experiment, frames_experiment, tasks_experiment, with_field
from nerfcl.config.options import applied
from nerfcl.config.streams import PushedStream
from nerfcl.errors import NerfclError
from nerfcl.models.fields import FIELDS
from nerfcl.serialisation import KIND
from nerfcl.strategies import STRATEGIES
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.strategy import Strategy
from nerfcl.training.checkpoints import Checkpoint

# Options of train.py and train_online.py -> those of the same meaning.
_REFERENCE_NAMES = {"lr": "learning_rate", "batch_size": "rays", "exp_seed": "seed"}


def experiment_of(checkpoint: Checkpoint, strategy: Strategy | None = None) -> Experiment:
    """Return the description of the experiment that wrote a checkpoint.

    Args:
        checkpoint: checkpoint of this version or of version 0.1.
        strategy: replaces the checkpoint's; required if that is a custom one.

    Raises:
        NerfclError: the checkpoint's strategy is a custom one, and none is given, or its description is damaged.
    """
    try:
        if checkpoint.experiment is None:
            if "stream" in checkpoint.options:
                return _pushed_experiment(checkpoint, strategy)
            return experiment_of_options(checkpoint.options)
        plain = dict(checkpoint.experiment)
        if plain["strategy"][KIND] is None:
            if strategy is None:
                raise NerfclError("was saved with a custom strategy; pass it to `load` again")
            plain["strategy"] = {KIND: "finetune"}
        experiment = Experiment.from_plain(plain)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NerfclError(f"has no complete description of its experiment ({error!r}); use another one") from None
    return experiment if strategy is None else replace(experiment, strategy=strategy)


def experiment_of_options(options: Mapping[str, Any]) -> Experiment:
    """Return the experiment that version 0.1 ran with these options."""
    known = _known(options)
    experiment = frames_experiment() if "order" in options else tasks_experiment()
    experiment = with_field(experiment, FIELDS[options.get("field", "hashgrid")]())
    # All options were saved, even those that did not apply.
    experiment, _ = applied(replace(experiment, strategy=FineTune()), known)
    if "strategy" not in options:
        return experiment
    configuration, _ = ConfigurationText.parse(options["strategy"]).build(known)
    return replace(experiment, strategy=configuration.strategy)


def comparison_of_options(options: Mapping[str, Any]) -> Comparison:
    """Return the comparison that version 0.1 ran with these options."""
    known = _known(options)
    return Comparison(
        experiment=experiment_of_options(options),
        configurations=tuple(ConfigurationText.parse(text).build(known)[0] for text in options["strategies"]),
        seeds=tuple(options["seeds"]),
        budgets=tuple(parse_budgets(options["budget_bytes"])),
    )


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    """Rename options, convert lists to tuples, and drop None, which meant the default."""
    return {
        _REFERENCE_NAMES.get(name, name): tuple(value) if isinstance(value, list) else value
        for name, value in options.items()
        if value is not None
    }


def _pushed_experiment(checkpoint: Checkpoint, strategy: Strategy | None) -> Experiment:
    """Return the experiment of an `OnlineLearner` of version 0.1."""
    stream = checkpoint.options["stream"]
    settings = dict(stream["settings"])
    settings["steps"] = settings.pop("steps_per_chunk")
    if strategy is None:
        if stream["strategy"] is None:
            raise NerfclError("was saved with a custom strategy; pass it to `load` again")
        strategy, _ = applied(STRATEGIES[stream["strategy"]](), stream["knobs"])
    start = replace(
        frames_experiment(),
        scene=None,
        stream=PushedStream(),
        field=checkpoint.model_settings.field,
        strategy=FineTune(),
    )
    experiment, _ = applied(start, settings)
    return replace(experiment, strategy=strategy, seed=stream["seed"])
