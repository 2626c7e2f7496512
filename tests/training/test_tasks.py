"""The loop: R worked by hand, reproducibility, sharing of the first task, strategies from scratch, resuming."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from nerfcl.cli.options import Run
from nerfcl.errors import NerfclError
from nerfcl.experiments.runs import make_strategy
from nerfcl.metrics.image import psnr
from nerfcl.models.rendering.model import Model, render_image
from nerfcl.models.settings import GridModel
from nerfcl.scenes import load_scene
from nerfcl.strategies import STRATEGIES
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.joint import Joint
from nerfcl.strategies.replay import Replay
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.tasks import Experience, Stream, make_stream
from nerfcl.training.checkpoints import load_checkpoint, resume, save_checkpoint
from nerfcl.training.learner import History, Learner, StepReport, TrainingSettings, new_learner
from nerfcl.training.looks import watched_view
from nerfcl.training.loop import learn, take_over_first
from nerfcl.training.optimisation import Adam, OptimisationSettings

SHORT = TrainingSettings(
    steps=12,
    rays=128,
    optimisation=OptimisationSettings(warm_up=2),
    evaluate_every=5,
    evaluate_views=1,
    frame_every=4,
)
# Three train views of 16 x 16 a task: 768 rays, 6 steps of 128 a pass.
BY_EPOCHS = dataclasses.replace(
    SHORT,
    epochs=2,
    optimisation=OptimisationSettings(schedule="poly", warmup_epochs=1),
    keep_optimiser=True,
)

WEIGHTED = "replay:memory-rays=200,memory-draw=weighted,exploration=0.25,update-losses"
MID_TASK_ROWS = ("finetune", WEIGHTED, "soft-targets")
EVERY_KNOB = (
    "replay:memory-rays=200,memory-fill=topk,memory-draw=weighted,exploration=0.25,centre-weight=0.25,soft-replay,"
    "update-losses,soft-targets"
)


@pytest.fixture
def stream(tiny_scene_folder: Path) -> Stream:
    return make_stream(load_scene(tiny_scene_folder), ["right", "left"])


@pytest.fixture
def build(tiny_scene_folder: Path) -> Callable[[], Model]:
    settings = GridModel.for_scene(load_scene(tiny_scene_folder), finest=16)
    return lambda: settings.build(3)


def weights_of(learner: Learner) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in learner.model.parameters()]


def test_R_is_the_mean_psnr_of_every_experience_after_every_experience(
    stream: Stream, build: Callable[[], Model]
) -> None:
    learner = new_learner(FineTune(), build, 3)
    history = learn(stream, learner, SHORT)
    assert len(history.R) == 2
    assert all(len(row) == 2 for row in history.R)
    for j, experience in enumerate(stream):
        by_hand = []
        for v in range(len(experience.test)):
            rgb = render_image(learner.model, experience.test.camera(v)).rgb.numpy()
            saved = np.round(np.clip(rgb, 0.0, 1.0) * 255.0).astype(np.uint8)
            by_hand.append(psnr(saved, experience.test.images[v].numpy()))
        assert history.R[1][j] == pytest.approx(np.mean(by_hand), abs=1e-4)


def test_training_lowers_the_error_on_the_experience_that_is_learned(
    stream: Stream, build: Callable[[], Model]
) -> None:
    learner = new_learner(FineTune(), build, 3)
    history = learn(stream, learner, dataclasses.replace(SHORT, steps=60, evaluate_every=2), until=1)
    assert history.curve[-1][1][0] > history.curve[0][1][0] + 3.0


def test_same_seed_gives_the_same_result_and_another_seed_does_not(stream: Stream, build: Callable[[], Model]) -> None:
    runs = []
    for seed in (3, 3, 4):
        learner = new_learner(Replay(memory_rays=50), build, seed)
        learn(stream, learner, SHORT)
        runs.append(weights_of(learner))
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(runs[0], runs[2], strict=True))


@pytest.mark.parametrize("settings", [SHORT, BY_EPOCHS], ids=["steps", "epochs"])
@pytest.mark.parametrize("row", [*STRATEGIES, EVERY_KNOB])
def test_a_run_on_a_shared_first_task_equals_the_whole_run(
    row: str, settings: TrainingSettings, stream: Stream, build: Callable[[], Model]
) -> None:
    alone = new_learner(make_strategy(row, Run()), build, 3)
    whole = learn(stream, alone, settings)
    shared = new_learner(FineTune(), build, 3)
    learn(stream, shared, settings, until=1)
    other = new_learner(make_strategy(row, Run()), build, 3)
    take_over_first(other, shared, stream)
    history = learn(stream, other, settings)
    assert history.R == whole.R
    assert history.curve == whole.curve
    assert history.memory_bytes == whole.memory_bytes
    assert all(torch.equal(a, b) for a, b in zip(weights_of(alone), weights_of(other), strict=True))


@pytest.mark.parametrize("settings", [SHORT, BY_EPOCHS], ids=["steps", "epochs"])
@pytest.mark.parametrize("row", [*STRATEGIES, EVERY_KNOB])
def test_a_run_resumed_from_a_checkpoint_equals_one_that_was_not_stopped(
    row: str,
    settings: TrainingSettings,
    stream: Stream,
    build: Callable[[], Model],
    tiny_scene_folder: Path,
    tmp_path: Path,
) -> None:
    straight = new_learner(make_strategy(row, Run()), build, 3)
    learn(stream, straight, settings)
    stopped = new_learner(make_strategy(row, Run()), build, 3)
    learn(stream, stopped, settings, until=1)
    model = GridModel.for_scene(load_scene(tiny_scene_folder), finest=16)
    save_checkpoint(tmp_path / "a.pt", stopped, {"seed": 3}, model)
    checkpoint = load_checkpoint(tmp_path / "a.pt")
    assert checkpoint.model_settings == model
    resumed = new_learner(make_strategy(row, Run()), build, 3)
    resume(resumed, checkpoint, settings.optimisation)
    assert (resumed.done, resumed.at) == (1, 0)
    history = learn(stream, resumed, settings)
    assert history.R == straight.history.R
    assert [where for where, _ in history.frames] == [where for where, _ in straight.history.frames]
    assert all(torch.equal(a, b) for a, b in zip(weights_of(straight), weights_of(resumed), strict=True))


class _Stop(Exception):
    pass


@dataclass
class _StopAfter:
    """Stops a run after so many steps in all, as a power cut would."""

    step: int

    def stepped(self, report: StepReport) -> None:
        if report.step == self.step:
            raise _Stop

    def looked(self, history: History) -> None: ...

    def finished(self, learner: Learner) -> None: ...


@pytest.mark.parametrize(
    ("row", "optimiser", "stops"),
    [
        *((row, optimiser, (19,)) for row in MID_TASK_ROWS for optimiser in ("adam", "sgd")),
        (EVERY_KNOB, "radam", (3, 15)),
        ("joint", "adam", (21,)),
        ("replay", "adam", (7, 14, 22)),
    ],
)
def test_a_run_resumed_in_the_middle_of_a_task_equals_one_that_was_not_stopped(
    row: str,
    optimiser: str,
    stops: tuple[int, ...],
    stream: Stream,
    build: Callable[[], Model],
    tiny_scene_folder: Path,
    tmp_path: Path,
) -> None:
    made = OptimisationSettings(optimiser=optimiser, warm_up=2, learning_rate=0.5 if optimiser == "sgd" else 0.02)
    settings = dataclasses.replace(SHORT, optimisation=made)
    straight = new_learner(make_strategy(row, Run()), build, 3)
    learn(stream, straight, settings)
    model = GridModel.for_scene(load_scene(tiny_scene_folder), finest=16)
    resumed = new_learner(make_strategy(row, Run()), build, 3)
    for stop in stops:
        with pytest.raises(_Stop):
            learn(stream, resumed, settings, [_StopAfter(stop)])
        assert resumed.at > 0, "in the middle of a task"
        save_checkpoint(tmp_path / "a.pt", resumed, {}, model)
        resumed = new_learner(make_strategy(row, Run()), build, 3)
        resume(resumed, load_checkpoint(tmp_path / "a.pt"), made)
        assert resumed.history.steps == stop
    reports: list[StepReport] = []
    history = learn(stream, resumed, settings, [_Collect(reports)])
    total = straight.history.steps
    assert [report.step for report in reports] == list(range(stops[-1] + 1, total + 1))
    assert {report.last_step for report in reports} == {total}
    assert all(torch.equal(a, b) for a, b in zip(weights_of(straight), weights_of(resumed), strict=True))
    assert history.R == straight.history.R
    assert history.curve == straight.history.curve
    assert [where for where, _ in history.frames] == [where for where, _ in straight.history.frames]


@dataclass
class _Collect:
    reports: list[StepReport]

    def stepped(self, report: StepReport) -> None:
        self.reports.append(report)

    def looked(self, history: History) -> None: ...

    def finished(self, learner: Learner) -> None: ...


def test_a_checkpoint_of_another_optimiser_is_refused(
    stream: Stream, build: Callable[[], Model], tiny_scene_folder: Path, tmp_path: Path
) -> None:
    learner = new_learner(FineTune(), build, 3)
    learn(stream, learner, SHORT, until=1)
    save_checkpoint(tmp_path / "a.pt", learner, {}, GridModel.for_scene(load_scene(tiny_scene_folder), finest=16))
    with pytest.raises(NerfclError, match="optimiser"):
        resume(
            new_learner(FineTune(), build, 3), load_checkpoint(tmp_path / "a.pt"), OptimisationSettings(optimiser="sgd")
        )


# --- epochs ---


@pytest.mark.parametrize(("rays", "per_pixel", "steps"), [(128, 1, 12), (100, 1, 16), (512, 4, 12), (768, 1, 2)])
def test_epochs_are_passes_over_every_pixel(
    rays: int, per_pixel: int, steps: int, stream: Stream, build: Callable[[], Model]
) -> None:
    shown: list[torch.Tensor] = []

    @dataclass(frozen=True)
    class Spy(FineTune):
        def batch(self, state: Any, new: Pixels) -> Pixels:
            shown.append(new.indices)
            return super().batch(state, new)

    settings = dataclasses.replace(
        SHORT, epochs=2, rays=rays, rays_per_pixel=per_pixel, evaluate_every=99, frame_every=99
    )
    reports: list[StepReport] = []
    history = learn(stream, new_learner(Spy(), build, 3), settings, [_Collect(reports)])
    assert history.steps == 2 * steps
    assert [report.epoch for report in reports] == [i // (steps // 2) for i in range(2 * steps)]
    for task in (shown[:steps], shown[steps:]):
        counts = torch.bincount(torch.cat(task), minlength=768)
        if 768 % (rays // per_pixel) == 0:
            assert (counts == 2).all(), "every pixel exactly twice"
        else:  # 16 batches of 100: the third pass begins
            assert counts.min() == 2
            assert counts.max() == 3
            assert int(counts.sum()) == 1600


def test_rates_go_by_epochs_since_the_first_task_began(stream: Stream, build: Callable[[], Model]) -> None:
    made = OptimisationSettings(schedule="step", decay_epochs=(1, 3), decay_gamma=0.1, learning_rate=0.01)
    for strategy, by_hand in (
        (FineTune(), [0.01] * 6 + [0.001] * 12 + [0.0001] * 6),
        # Begins again after the first task: its 24 steps are spread over the 4 epochs so far.
        (Joint(), [0.01] * 6 + [0.001] * 6 + [0.01] * 6 + [0.001] * 12 + [0.0001] * 6),
    ):
        reports: list[StepReport] = []
        settings = dataclasses.replace(SHORT, epochs=2, optimisation=made, evaluate_every=99, frame_every=99)
        learn(stream, new_learner(strategy, build, 3), settings, [_Collect(reports)])
        assert [report.learning_rate for report in reports] == pytest.approx(by_hand)


@pytest.mark.parametrize(("keep", "announced", "steps"), [(False, True, 12), (True, True, 24), (False, False, 24)])
def test_the_optimiser_goes_on_where_it_is_kept_or_no_task_is_announced(
    keep: bool, announced: bool, steps: int, stream: Stream, build: Callable[[], Model]
) -> None:
    told = tuple(dataclasses.replace(part, announced=announced) for part in stream)
    learner = new_learner(FineTune(), build, 3)
    learn(told, learner, dataclasses.replace(SHORT, keep_optimiser=keep))
    assert isinstance(learner.optimiser, Adam)
    assert learner.optimiser.count == steps


def test_from_scratch_begins_with_a_new_optimiser_even_where_it_is_kept(
    stream: Stream, build: Callable[[], Model]
) -> None:
    learner = new_learner(Joint(), build, 3)
    learn(stream, learner, dataclasses.replace(SHORT, keep_optimiser=True))
    assert isinstance(learner.optimiser, Adam)
    assert learner.optimiser.count == 24
    mine = {parameter.data_ptr() for parameter in learner.model.parameters()}
    assert {parameter.data_ptr() for parameter in learner.optimiser.parameters} == mine


def test_reported_losses_are_the_parts_and_the_psnr_of_the_new_rays(stream: Stream, build: Callable[[], Model]) -> None:
    seen: list[dict[str, float]] = []

    @dataclass(frozen=True)
    class Spy(Replay):
        def loss(self, state: Any, rendering: Any, batch: Pixels) -> dict[str, torch.Tensor]:
            error = ((rendering.rgb - batch.colours)[: batch.new] ** 2).mean().item()
            parts = super().loss(state, rendering, batch)
            seen.append({**{name: part.item() for name, part in parts.items()}, "psnr": -10.0 * math.log10(error)})
            return parts

    reports: list[StepReport] = []
    learn(stream, new_learner(Spy(soft_targets=True), build, 3), SHORT, [_Collect(reports)])
    assert seen[0].keys() == {"new", "psnr"}
    assert seen[-1].keys() == {"new", "replay", "soft", "psnr"}
    for step in (1, 10, 20, 24):
        report = reports[step - 1]
        assert report.losses == pytest.approx(seen[step - 1], rel=1e-5)
        parts = [value for name, value in seen[step - 1].items() if name != "psnr"]
        assert report.loss == pytest.approx(sum(parts), rel=1e-5)
    assert sum(report.losses is not None for report in reports) == 4


def test_joint_begins_again_with_all_views_and_all_steps_so_far(stream: Stream, build: Callable[[], Model]) -> None:
    drawn: list[int] = []

    @dataclass(frozen=True)
    class Spy(Joint):
        def batch(self, state: Any, new: Any) -> Any:
            batch = super().batch(state, new)
            drawn.append(int((batch.poses[:, 0, 3] > 0).sum()))
            assert len(batch) == len(new)
            return batch

    history = learn(stream, new_learner(Spy(), build, 3), SHORT)
    assert history.steps == 12 + 24
    assert all(count == 128 for count in drawn[:12])
    shares = np.array(drawn[12:]) / 128
    rights, lefts = len(stream[0].train), len(stream[1].train)
    assert shares.mean() == pytest.approx(rights / (rights + lefts), abs=0.05)


def test_replay_takes_as_many_old_rays_as_new_ones_after_the_first_experience(
    stream: Stream, build: Callable[[], Model]
) -> None:
    sizes: list[tuple[int, int]] = []

    @dataclass(frozen=True)
    class Spy(Replay):
        def batch(self, state: Any, new: Any) -> Any:
            batch = super().batch(state, new)
            sizes.append((batch.new, len(batch)))
            assert (batch.poses[batch.new :, 0, 3] > 0).all()
            return batch

    learn(stream, new_learner(Spy(memory_rays=99), build, 3), SHORT)
    assert sizes == [(128, 128)] * 12 + [(128, 256)] * 12


def test_every_step_is_reported_and_looks_come_at_their_intervals(stream: Stream, build: Callable[[], Model]) -> None:
    reports: list[StepReport] = []
    finished: list[int] = []

    class Observer:
        def stepped(self, report: StepReport) -> None:
            reports.append(report)

        def looked(self, history: History) -> None: ...

        def finished(self, learner: Learner) -> None:
            finished.append(learner.done)

    history = learn(stream, new_learner(FineTune(), build, 3), SHORT, [Observer()])
    assert [report.step for report in reports] == list(range(1, 25))
    assert {report.last_step for report in reports} == {24}
    assert [report.task for report in reports] == ["right"] * 12 + ["left"] * 12
    assert [report.step for report in reports if report.loss is not None] == [1, 10, 20, 24]
    assert finished == [1, 2]
    steps = [where * 12 for where, _ in history.curve]
    assert steps == pytest.approx([5, 10, 12, 17, 22, 24])
    assert [where * 12 for where, _ in history.frames] == pytest.approx([4, 8, 12, 16, 20, 24])


@dataclass(frozen=True)
class _NeedsBoundaries(Strategy):
    needs_boundaries: ClassVar[bool] = True


def test_a_stream_without_boundaries_refuses_a_strategy_that_needs_them(
    stream: Stream, build: Callable[[], Model]
) -> None:
    silent = tuple(Experience(part.name, part.train, part.val, part.test, announced=False) for part in stream)
    with pytest.raises(NerfclError, match="_NeedsBoundaries"):
        learn(silent, new_learner(_NeedsBoundaries(), build, 3), SHORT)


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ({"steps": 0}, "--steps"),
        ({"rays": 0}, "--rays"),
        ({"rays": 10, "rays_per_pixel": 4}, "--rays"),
        ({"rays_per_pixel": 3}, "--rays-per-pixel"),
        ({"epochs": 0}, "--epochs"),
        ({"evaluate_every": 0}, "--evaluate-every"),
        ({"frame_every": 0}, "--frame-every"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(
    change: dict[str, Any], option: str, stream: Stream, build: Callable[[], Model]
) -> None:
    with pytest.raises(NerfclError, match=option):
        learn(stream, new_learner(FineTune(), build, 3), dataclasses.replace(SHORT, **change))


def test_a_diverging_loss_stops_the_run(stream: Stream, build: Callable[[], Model]) -> None:
    @dataclass(frozen=True)
    class Broken(FineTune):
        def loss(self, state: Any, rendering: Any, batch: Any) -> dict[str, torch.Tensor]:
            return {"new": rendering.rgb.sum() * float("nan")}

    with pytest.raises(NerfclError, match="diverged"):
        learn(stream, new_learner(Broken(), build, 3), SHORT)


def test_the_watched_view_is_the_farthest_from_what_is_learned_later(stream: Stream) -> None:
    # Right test views at azimuths 10 and 340 degrees; of the left train views the one at 270 is nearest to both.
    assert watched_view(stream) == (0, 0)
    assert watched_view(stream[:1]) == (0, 1)


def test_in_a_stream_of_chunks_the_third_or_a_later_one_is_watched(stream: Stream) -> None:
    chunk = dataclasses.replace(stream[0], announced=False)
    without = dataclasses.replace(chunk, test=chunk.test.select([]))
    assert watched_view((chunk, chunk, chunk, chunk))[0] == 2
    assert watched_view((chunk, chunk, without, chunk))[0] == 3
    assert watched_view((without, chunk, without))[0] == 1
    assert watched_view((chunk,)) == (0, len(chunk.test) // 2)
