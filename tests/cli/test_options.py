"""What `--help` says of defaults is what holds."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from tyro._docstrings import get_field_docstring

from nerfcl.cli import commands
from nerfcl.cli.describe import describe_comparison, describe_run
from nerfcl.cli.main import main
from nerfcl.cli.options import Compare, CompareOnline, Evaluate, MakeScene, Online, Run
from nerfcl.config.experiment import Experiment, frames_experiment, tasks_experiment
from nerfcl.config.options import known_as, leaves_of
from nerfcl.config.streams import WatchedStream
from nerfcl.experiments.evaluate import EvaluationRequest
from nerfcl.experiments.make_scene import MakeSceneSettings
from nerfcl.experiments.workers import Workers
from nerfcl.models.fields import FIELDS
from nerfcl.scenes.format import PHOTOGRAPH_SIDE
from nerfcl.strategies import STRATEGIES
from nerfcl.strategies.finetune import FineTune

TRAININGS = {Run: "run", Compare: "compare", Online: "online", CompareOnline: "compare-online"}
# Options of which no field has the default: what holds is seen elsewhere, see the tests below.
APART = {"field", "strategy", "strategies", "seeds", "jobs", "out"}
# How defaults are told that are None in the description, since they depend on something else.
DECIDED_LATER = {
    "max_side": str(PHOTOGRAPH_SIDE),
    "max_resolution": "the images' width - 1",
    "frames": "all",
    "test_every": "a fifth of the stream",
    "seen_every": "a twenty-fifth of the stream",
    "frame_every": "a sixty-fourth of the stream",
    "box": "what the first chunk's cameras look at",
}


def told_by(command: type) -> dict[str, str]:
    """What is told of the default of each option, by name."""
    found = {}
    for name, hint in get_type_hints(command, include_extras=True).items():
        for described in getattr(hint, "__metadata__", ()):
            text = getattr(described, "help_behavior_hint", None) or ""
            if text:
                assert text.startswith("(default: ")
                assert text.endswith(")")
                found[name] = text.removeprefix("(default: ").removesuffix(")")
    return found


def described_by(command: type) -> Iterator[tuple[set[str], Experiment]]:
    """Experiments of a command that differ in what they consist of, and what is said to make them so."""
    start = tasks_experiment() if command in (Run, Compare) else frames_experiment()
    for name in STRATEGIES:
        yield {name}, replace(start, strategy=STRATEGIES[name]())
    for name in FIELDS:
        # With the optimiser that the command chooses.
        described = describe_run(Run(field=name) if command in (Run, Compare) else Online(field=name))[0]
        yield {f"--field {name}"}, replace(described, strategy=FineTune())
    if command is Online:
        watching = replace(start, scene=None, stream=WatchedStream(folder=Path("camera")), strategy=FineTune())
        yield {"--watch"}, watching


def agrees(text: str, option: str, value: Any) -> bool:
    """Whether what is told of a default is its value."""
    if value is None:
        return text == DECIDED_LATER[option]
    if text == "off":
        return value == 0
    if isinstance(value, tuple):
        return text == " ".join(map(str, value))
    if isinstance(value, float):
        return math.isclose(float(text), value)
    return text == str(value)


@pytest.mark.parametrize("command", TRAININGS)
def test_defaults_that_are_told_are_those_of_the_fields_that_options_set(command: type) -> None:
    told, checked = told_by(command), set()
    for parts, experiment in described_by(command):
        leaves = leaves_of(experiment)
        for option, text in told.items():
            general, *special = text.split("; ")
            exceptions = dict(part.split(": ") for part in special if option not in APART)
            name = known_as(option, leaves)
            for leaf in leaves.get(name or "", ()):
                # What is told of a strategy is of the strategy's own fields.
                named = [exceptions[part] for part in parts if part in exceptions]
                expected = named[0] if named else general
                assert agrees(expected, name or "", leaf.value), f"{option}: {expected}, but {leaf} of {parts}"
                checked.add(option)
    assert told.keys() - checked == APART & told.keys()


@pytest.mark.parametrize("command", TRAININGS)
def test_every_option_with_a_default_tells_it(command: type) -> None:
    """But those that take the place of others, and switches, which are off."""
    silent = {field.name for field in fields(command)} - told_by(command).keys() - {"switched_off"}
    switches = {field.name for field in fields(command) if field.default is False}
    instead = {"config", "img_wh", "epochs", "watch", "budget_bytes", "ray"}
    assert silent - switches == instead & {field.name for field in fields(command)}
    for parts, experiment in described_by(command):
        for switch in switches:
            assert all(leaf.value is False for leaf in leaves_of(experiment).get(switch, ())), parts


@pytest.mark.parametrize("command", [Run, Online])
def test_the_strategy_seed_and_field_of_a_run_are_as_told(command: Callable[[], Run | Online]) -> None:
    told = told_by(command)  # pyright: ignore[reportArgumentType]
    experiment, label = describe_run(command())
    assert (label, str(experiment.seed)) == (told["strategy"], told["seed"])
    assert FIELDS.name_of(type(experiment.field)) == told["field"]


@pytest.mark.parametrize("command", [Compare, CompareOnline])
def test_the_strategies_seeds_and_jobs_of_a_comparison_are_as_told(
    command: Callable[[], Compare | CompareOnline],
) -> None:
    told = told_by(command)  # pyright: ignore[reportArgumentType]
    comparison = describe_comparison(command())
    assert [configuration.label for configuration in comparison.configurations] == told["strategies"].split()
    assert [str(seed) for seed in comparison.seeds] == told["seeds"].split()
    assert FIELDS.name_of(type(comparison.experiment.field)) == told["field"]
    assert told["jobs"].startswith("1; ")
    assert Workers().in_turn


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (["run"], "outputs/replay"),
        (["run", "--strategy", "worst first=replay"], "outputs/worst-first"),
        (["online"], "outputs/online-replay"),
        (["compare"], "outputs/compare"),
        (["compare-online"], "outputs/compare-online"),
    ],
)
def test_the_folder_is_the_one_that_is_told(arguments: list[str], folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Path] = []

    def take(described: Any, folder: Path, *args: Any, **kwargs: Any) -> None:
        taken.append(folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "execute", take)
    monkeypatch.setattr(commands, "compare", take)
    assert main(arguments) == 130
    assert taken == [Path(folder)]
    (command,) = (command for command, name in TRAININGS.items() if name == arguments[0])
    told = told_by(command)["out"]
    assert told.replace("STRATEGY", folder.rpartition("/")[2].removeprefix("online-")) == folder


def test_defaults_of_the_other_commands_are_those_of_what_they_do() -> None:
    request, made = EvaluationRequest(Path("x.pt")), MakeSceneSettings()
    evaluate, make = Evaluate(Path("x.pt")), MakeScene(Path("scene"))
    named = {"size": "img_wh"}
    for field in fields(request):
        assert getattr(request, field.name) == getattr(evaluate, named.get(field.name, field.name)), field.name
    for field in fields(made):
        assert getattr(made, field.name) == getattr(make, field.name), field.name
    # And what is None is told in words.
    without = {field.name for field in fields(Evaluate) if field.default is None}
    assert told_by(Evaluate).keys() == without
    assert {field.name for field in fields(MakeScene) if field.default in (None, MISSING)} == {"out"}


@pytest.mark.parametrize("command", [*TRAININGS.values(), "eval", "make-scene"])
def test_help_says_it_and_is_quick(command: str) -> None:
    code = (
        "import sys\nfrom nerfcl.cli.main import main\n"
        f"try:\n    main(['{command}', '--help'])\nexcept SystemExit as stopped:\n    assert not stopped.code\n"
        "assert not {'torch', 'mitsuba'} & set(sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    words = " ".join(printed.replace("│", " ").split())
    classes: dict[str, type] = {name: cls for cls, name in TRAININGS.items()}
    classes |= {"eval": Evaluate, "make-scene": MakeScene}
    for name, text in told_by(classes[command]).items():
        assert f"--{name.replace('_', '-')}" in words
        assert f"(default: {text})" in words, name


@pytest.mark.parametrize("command", [*TRAININGS, Evaluate, MakeScene])
def test_the_help_of_an_option_is_one_paragraph(command: type) -> None:
    # As tyro reads it: a line of the manual that begins with anything but a letter would begin a new line there.
    for field in fields(command):
        text = get_field_docstring(command, field.name, ())
        assert text is None or "\n" not in text, field.name


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    import nerfcl

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"nerfcl {nerfcl.__version__}\n"
