"""What a command was told -> the description of what it does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nerfcl.cli import commands
from nerfcl.cli.describe import describe_comparison, describe_run
from nerfcl.cli.main import main
from nerfcl.cli.options import Compare, CompareOnline, Online, Run
from nerfcl.config.comparison import Comparison
from nerfcl.config.experiment import Experiment, frames_experiment, tasks_experiment
from nerfcl.config.streams import FrameStream, TaskStream, WatchedStream
from nerfcl.errors import NerfclError
from nerfcl.memory.rays import RayMemorySettings
from nerfcl.models.fields.hash_grid import HashGridSettings
from nerfcl.models.fields.nerf import NerfSettings
from nerfcl.strategies import STRATEGIES
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.replay import Replay
from nerfcl.strategies.strategy import Strategy
from support.folders import describe_in

WITHOUT_BOUNDARIES = [name for name in STRATEGIES if name != "soft-targets"]


def strategies_of(comparison: Comparison) -> dict[str, Strategy]:
    return {configuration.label: configuration.strategy for configuration in comparison.configurations}


def test_without_options_the_defaults_hold() -> None:
    assert describe_run(Run()) == (tasks_experiment(), "replay")
    assert describe_run(Online()) == (frames_experiment(), "replay")
    for command, experiment in ((Compare(), tasks_experiment()), (CompareOnline(), frames_experiment())):
        comparison = describe_comparison(command)
        assert comparison.experiment == replace(experiment, strategy=FineTune())
        assert list(strategies_of(comparison)) == ["finetune", "replay", "joint"]
        assert (comparison.seeds, comparison.budgets) == ((0,), ())


@pytest.mark.parametrize(
    ("given", "seeds"),
    [((0,), (0,)), ((1,), (0,)), ((5,), (0, 1, 2, 3, 4)), ((3, 1), (3, 1)), ((0, 1), (0, 1)), ((-4, 2), (-4, 2))],
)
def test_one_number_is_how_many_seeds_there_are_several_are_the_seeds(
    given: tuple[int, ...], seeds: tuple[int, ...]
) -> None:
    assert describe_comparison(Compare(seeds=given)).seeds == seeds


def test_all_is_every_strategy_that_fits() -> None:
    assert list(strategies_of(describe_comparison(Compare(strategies=("all",))))) == list(STRATEGIES)
    labels = list(strategies_of(describe_comparison(CompareOnline(strategies=("a=replay", "all")))))
    assert labels == ["a", *WITHOUT_BOUNDARIES]


def test_budgets_are_described_in_bytes_the_smallest_first() -> None:
    assert describe_comparison(Compare(budget_bytes=("1M", "65536"))).budgets == (65_536, 1_048_576)


def test_options_set_what_they_name_and_nothing_else() -> None:
    command = Run(
        data="somewhere", img_wh=(16, 8), tasks=("sectors:3",), steps=7, rays=64, rays_per_pixel=4, memory_rays=9,
        learning_rate=0.5, max_resolution=20, evaluate_every=3, seed=5, device="cpu",
    )  # fmt: skip
    experiment, _ = describe_run(command)
    default = tasks_experiment()
    assert default.scene is not None
    assert default.training.evaluation is not None
    optimiser = replace(default.training.optimiser, learning_rate=0.5)
    evaluation = replace(default.training.evaluation, evaluate_every=3)
    assert experiment == Experiment(
        scene=replace(default.scene, data="somewhere", size=(16, 8)),
        stream=TaskStream(tasks=("sectors:3",)),
        field=HashGridSettings(max_resolution=20),
        training=replace(
            default.training, steps=7, rays=64, rays_per_pixel=4, optimiser=optimiser, evaluation=evaluation
        ),
        strategy=Replay(RayMemorySettings(rays=9), rays_per_pixel=4),
        seed=5,
        device="cpu",
    )


def test_options_of_a_stream_of_frames_set_what_they_name() -> None:
    command = Online(order="azimuth", frames=5, chunk_frames=3, steps=7, test_every=2, seen_every=0, frame_every=0)
    experiment, _ = describe_run(command)
    evaluation = experiment.training.evaluation
    assert evaluation is not None
    assert experiment.stream == FrameStream(order="azimuth", frames=5, chunk_frames=3)
    assert experiment.training.steps == 7
    assert (evaluation.test_every, evaluation.seen_every, evaluation.frame_every) == (2, 0, 0)


def test_a_watched_folder_takes_the_place_of_the_scene() -> None:
    command = Online(watch=Path("camera"), img_wh=(16, 12), chunk_frames=3, box=(0.0, 1.0, 2.0, 3.0), memory_rays=9)
    experiment, _ = describe_run(command)
    assert experiment.scene is None
    box = (0.0, 1.0, 2.0, 3.0)
    assert experiment.stream == WatchedStream(folder=Path("camera"), size=(16, 12), chunk_frames=3, box=box)
    assert experiment.training == replace(frames_experiment().training, evaluation=None)
    assert experiment.strategy == Replay(RayMemorySettings(rays=9))


def test_a_field_brings_what_suits_it_where_nothing_is_said() -> None:
    experiment, _ = describe_run(Run(field="nerf", samples=8))
    optimiser = experiment.training.optimiser
    assert experiment.field == NerfSettings(samples=8)
    assert (optimiser.learning_rate, optimiser.betas, optimiser.epsilon) == (5e-4, (0.9, 0.999), 1e-8)
    assert describe_run(Run(field="nerf", learning_rate=0.5))[0].training.optimiser.learning_rate == 0.5
    assert describe_run(Run(field="hashgrid"))[0] == tasks_experiment()


@pytest.mark.parametrize("command", [Compare, CompareOnline])
def test_options_are_for_those_of_a_comparison_that_have_them(command: type[Any]) -> None:
    texts = ("finetune", "replay", "few=replay:memory-rays=5", "replay-images", "generative")
    options = {"memory_rays": 9, "memory_bytes": 500, "replay_fraction": 0.75, "update_losses": True}
    strategies: dict[str, Any] = strategies_of(describe_comparison(command(strategies=texts, **options)))
    assert strategies["finetune"] == FineTune()
    assert strategies["replay"] == Replay(RayMemorySettings(rays=9), replay_fraction=0.75, update_losses=True)
    assert strategies["few"] == replace(strategies["replay"], memory=RayMemorySettings(rays=5))
    assert (strategies["replay-images"].memory.bytes, strategies["replay-images"].replay_fraction) == (500, 0.75)
    assert strategies["generative"].replay_fraction == 0.75


def test_old_spellings_of_options_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[Any] = []
    monkeypatch.setattr(commands, "run_command", lambda command, _: parsed.append(command))
    old = ["--average", "0.5", "--past-share", "0.75", "--finest", "20"]
    for command, more in (("run", []), ("compare", []), ("online", ["--score-every", "3"]), ("compare-online", [])):
        assert main([command, *old, *more]) == 0
        found = parsed.pop()
        assert (found.ema_decay, found.replay_fraction, found.max_resolution) == (0.5, 0.75, 20)
        assert getattr(found, "test_every", None) == (3 if more else None)


# Descriptions in files


def run_in(folder: Path, experiment: Experiment, label: str = "mine") -> Path:
    describe_in(folder, experiment, label=label)
    return folder / "config.json"


def test_a_file_is_described_as_it_is_and_options_change_it(tmp_path: Path) -> None:
    saved, _ = describe_run(Run(steps=7, rays=64, strategy="replay:memory-fill=topk", seed=3, field="nerf"))
    path = run_in(tmp_path, saved)
    assert describe_run(Run(config=path)) == (saved, "mine")
    changed, label = describe_run(Run(config=path, rays=32, memory_rays=9, samples=8, learning_rate=0.5))
    optimiser = replace(saved.training.optimiser, learning_rate=0.5)
    assert changed == replace(
        saved,
        field=NerfSettings(samples=8),
        training=replace(saved.training, rays=32, optimiser=optimiser),
        strategy=Replay(RayMemorySettings(rays=9, fill="topk")),
    )
    assert label == "mine"
    other, label = describe_run(Run(config=path, strategy="finetune", field="hashgrid", seed=4))
    optimiser = tasks_experiment().training.optimiser
    assert other.training == replace(saved.training, optimiser=optimiser)
    assert (other.strategy, other.field, other.seed, label) == (FineTune(), HashGridSettings(), 4, "finetune")


def test_another_folder_may_be_watched_as_a_file_says(tmp_path: Path) -> None:
    saved, _ = describe_run(Online(watch=Path("camera"), img_wh=(16, 12), chunk_frames=3, box=(0.0, 1.0, 2.0, 3.0)))
    described, _ = describe_run(Online(config=run_in(tmp_path, saved), watch=Path("other")))
    assert described == replace(saved, stream=replace(saved.stream, folder=Path("other")))  # pyright: ignore


def test_a_comparison_in_a_file_is_described_as_it_is_and_options_change_it(tmp_path: Path) -> None:
    texts = ("finetune", "few=replay:memory-rays=5", "agem")
    saved = describe_comparison(CompareOnline(strategies=texts, seeds=(2,), budget_bytes=("2K",), rays=64))
    describe_in(tmp_path, saved)
    path = tmp_path / "config.json"
    assert describe_comparison(CompareOnline(config=path)) == saved
    changed = describe_comparison(CompareOnline(config=path, rays=32, memory_fill="topk", seeds=(7, 8)))
    assert changed.experiment == replace(saved.experiment, training=replace(saved.experiment.training, rays=32))
    assert (changed.seeds, changed.budgets) == ((7, 8), (2048,))
    strategies: dict[str, Any] = strategies_of(changed)
    assert strategies["finetune"] == FineTune()
    assert strategies["few"] == Replay(RayMemorySettings(rays=5, fill="topk"))
    assert strategies["agem"].memory.fill == "topk"
    assert [configuration.sized for configuration in changed.configurations] == [False, True, False]
    others = describe_comparison(CompareOnline(config=path, strategies=("joint",), budget_bytes=("3K",)))
    assert (list(strategies_of(others)), others.budgets) == (["joint"], (3072,))


def test_a_run_in_a_file_can_be_compared_with_others(tmp_path: Path) -> None:
    saved, _ = describe_run(Run(steps=7, strategy="ewc", seed=3))
    comparison = describe_comparison(Compare(config=run_in(tmp_path, saved), memory_rays=9))
    assert comparison.experiment == replace(saved, strategy=FineTune(), seed=0)
    assert strategies_of(comparison)["replay"] == Replay(RayMemorySettings(rays=9))
    assert list(strategies_of(comparison)) == ["finetune", "replay", "joint"]


def test_options_that_do_not_apply_to_a_file_are_refused(tmp_path: Path) -> None:
    path = run_in(tmp_path, describe_run(Run(strategy="finetune", field="nerf"))[0])
    for options in ({"memory_rays": 5}, {"max_resolution": 20}, {"soft_replay": True}):
        with pytest.raises(NerfclError, match="does not apply here"):
            describe_run(Run(config=path, **options))  # pyright: ignore[reportArgumentType]
