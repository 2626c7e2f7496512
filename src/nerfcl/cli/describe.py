"""From the options of a command to the description of what it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from nerfcl.cli.options import Compare, CompareOnline, Online, Run
from nerfcl.config.comparison import Comparison
from nerfcl.config.configurations import ALL, Configuration, ConfigurationText, parse_budgets
from nerfcl.config.experiment import Experiment, frames_experiment, tasks_experiment, with_field
from nerfcl.config.options import applied
from nerfcl.config.streams import FrameStream, TaskStream, WatchedStream
from nerfcl.errors import Argument, NerfclError
from nerfcl.experiments.folders import described_by, label_in
from nerfcl.models.fields import FIELDS
from nerfcl.serialisation import to_plain
from nerfcl.strategies import STRATEGIES
from nerfcl.strategies.finetune import FineTune

_DEFAULT_STRATEGIES = ("finetune", "replay", "joint")
# Options that are not fields of an experiment's description.
_APART = {"config", "field", "strategy", "strategies", "seeds", "budget_bytes", "jobs", "ray", "out", "watch"}


def given(command: Any) -> dict[str, Any]:
    """Return the options that a command was given."""
    values = {field.name: getattr(command, field.name) for field in fields(command) if field.name != "switched_off"}
    on = {name: value for name, value in values.items() if value is not None and value is not False}
    return {**on, **dict.fromkeys(command.switched_off, False)}


def describe_run(command: Run | Online) -> tuple[Experiment, str]:
    """Return the description of a single run, and the label of its strategy.

    Raises:
        NerfclError: an option does not apply, or a value is invalid.
    """
    options = given(command)
    start = _start(command, options)
    assert isinstance(start, Experiment)
    text = command.strategy if command.config is not None or command.strategy else "replay"
    label = label_in(command.config) if command.config is not None else None
    base, rest = _applied_without_strategy(start, options)
    if text is None:
        strategy, unknown = applied(start.strategy, rest)
    else:
        configuration, unknown = ConfigurationText.parse(text).build(rest)
        strategy, label = configuration.strategy, configuration.label
    _refuse(unknown, replace(base, strategy=strategy))
    return replace(base, strategy=strategy), label or STRATEGIES.name_of(type(strategy)) or "strategy"


def describe_comparison(command: Compare | CompareOnline) -> Comparison:
    """Return the description of a comparison.

    Raises:
        NerfclError: an option does not apply, or a value is invalid.
    """
    options = given(command)
    start = _start(command, options)
    held = start if isinstance(start, Comparison) else Comparison(experiment=start)  # pyright: ignore
    base, rest = _applied_without_strategy(held.experiment, options)
    configurations, unknown = held.configurations, set(rest)
    if command.strategies is not None or not configurations:
        named = _DEFAULT_STRATEGIES if command.strategies is None else command.strategies
        texts = _expanded(named, isinstance(base.stream, FrameStream))
        built = [ConfigurationText.parse(text).build(rest) for text in texts]
        configurations = tuple(configuration for configuration, _ in built)
        unknown = set.intersection(*(missing for _, missing in built))
    elif rest:
        changed = [applied(configuration.strategy, rest) for configuration in configurations]
        unknown = set.intersection(*(missing for _, missing in changed))
        configurations = tuple(
            replace(configuration, strategy=strategy)
            for configuration, (strategy, _) in zip(configurations, changed, strict=True)
        )
    _refuse(unknown, base, configurations)
    seeds = held.seeds if command.seeds is None else _expanded_seeds(command.seeds)
    budgets = held.budgets if command.budget_bytes is None else tuple(parse_budgets(command.budget_bytes))
    base = replace(base, strategy=FineTune(), seed=0)
    return Comparison(experiment=base, configurations=configurations, seeds=seeds, budgets=budgets)


def _start(command: Any, options: Mapping[str, Any]) -> Experiment | Comparison:
    """Return what the options modify: the description in a file, or the defaults."""
    on_frames = isinstance(command, Online | CompareOnline)
    if command.config is None:
        start: Experiment | Comparison = frames_experiment() if on_frames else tasks_experiment()
    else:
        start = described_by(command.config)
    compares, held = isinstance(command, Compare | CompareOnline), isinstance(start, Comparison)
    experiment = start.experiment if isinstance(start, Comparison) else start
    on_tasks = isinstance(experiment.stream, TaskStream)
    if on_frames == on_tasks or (held and not compares):
        what = "a comparison" if held and not compares else "another kind of stream"
        programs = {(True, False): "run", (True, True): "compare", (False, False): "online"}
        right = programs.get((on_tasks, held or compares), "compare-online")
        raise NerfclError(Argument("config", str(command.config)), f": describes {what}; use `nerfcl {right}`")
    if isinstance(start, Experiment) and compares:
        start = Comparison(experiment=start)
    if "field" in options:
        experiment = with_field(experiment, FIELDS[options["field"]]())
    if "watch" in options:
        experiment = _watching(experiment, options["watch"])
    return experiment if isinstance(start, Experiment) else replace(start, experiment=experiment)


def _watching(experiment: Experiment, folder: Path) -> Experiment:
    """Return the experiment on the frames of a watched folder, which has no views to evaluate."""
    training = replace(experiment.training, evaluation=None)
    before = experiment.stream
    stream = replace(before, folder=folder) if isinstance(before, WatchedStream) else WatchedStream(folder=folder)
    return replace(experiment, scene=None, stream=stream, training=training)


def _applied_without_strategy(start: Any, options: Mapping[str, Any]) -> tuple[Experiment, dict[str, Any]]:
    """Apply options to everything but the strategy; return those that may be its hyperparameters as well."""
    wanted = {name: value for name, value in options.items() if name not in _APART}
    if "max_side" in wanted and "img_wh" not in wanted:  # a size of the description that is begun from would win
        wanted["img_wh"] = None
    base, unknown = applied(replace(start, strategy=FineTune()), wanted)
    # Rays per pixel apply to the entire run, but a strategy may need them as well.
    both = {name for name in ("rays_per_pixel",) if name in wanted}
    return base, {name: value for name, value in wanted.items() if name in unknown | both}


def _expanded(texts: tuple[str, ...], on_frames: bool) -> list[str]:
    """Replace "all" by every strategy that works on the stream."""
    every = [name for name, cls in STRATEGIES.items() if not (on_frames and cls.needs_boundaries)]
    expanded = [name for text in texts for name in (every if text == ALL else (text,))]
    if not expanded or len(set(expanded)) < len(expanded):
        raise NerfclError(Argument("strategies", tuple(texts)), ": give at least one, and none twice")
    return expanded


def _expanded_seeds(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(seeds) != 1:
        return seeds
    if seeds[0] < 0:
        raise NerfclError(Argument("seeds", seeds), ": give the number of seeds, or the seeds themselves")
    return tuple(range(max(seeds[0], 1)))


def _refuse(unknown: set[str], base: Experiment, configurations: tuple[Configuration, ...] = ()) -> None:
    """Reject options that do not apply.

    Raises:
        NerfclError: an option does not apply; names the first.
    """
    unknown = unknown - {"rays_per_pixel"}
    if not unknown:
        return
    strategies = [configuration.strategy for configuration in configurations] or [base.strategy]
    names = ", ".join(dict.fromkeys(str(to_plain(strategy)["kind"]) for strategy in strategies))
    field = base.field.registry.name_of(type(base.field))
    stream = {TaskStream: "tasks", FrameStream: "a stream of frames", WatchedStream: "a watched folder"}
    kind = next(text for cls, text in stream.items() if isinstance(base.stream, cls))
    option = sorted(unknown)[0]
    raise NerfclError(
        Argument(option), f": does not apply here (strategy {names}, field {field}, {kind}); leave it out"
    )
