"""The loop on a stream whose chunks nobody announces: what goes on across them, when it is looked at, resuming."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfcl.cli.main import main
from nerfcl.cli.options import Run
from nerfcl.errors import NerfclError
from nerfcl.experiments.runs import make_strategy
from nerfcl.models.rendering.model import Model
from nerfcl.models.settings import GridModel
from nerfcl.scenes import load_scene
from nerfcl.scenes.scene import Views
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.replay import Replay
from nerfcl.streams.frames import make_trajectory
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.tasks import Stream, make_stream
from nerfcl.training.checkpoints import load_checkpoint, resume, save_checkpoint
from nerfcl.training.evaluation import evaluate
from nerfcl.training.learner import History, Learner, StepReport, TrainingSettings, new_learner
from nerfcl.training.loop import learn
from nerfcl.training.optimisation import Adam, OptimisationSettings

CONSTANT = OptimisationSettings(schedule="constant", warm_up=8, average=0.8)
SHORT = TrainingSettings(
    steps=5, rays=64, optimisation=CONSTANT, evaluate_every=4, evaluate_views=1, frame_every=7, score_every=2,
    seen_every=1,
)  # fmt: skip


@pytest.fixture
def stream(shared_scene: Path) -> Stream:
    return make_trajectory(load_scene(shared_scene), "nearest", 2)


@pytest.fixture
def model(shared_scene: Path) -> GridModel:
    return GridModel.for_scene(load_scene(shared_scene), finest=16)


@pytest.fixture
def build(model: GridModel) -> Callable[[], Model]:
    return lambda: model.build(3, "cpu")


def weights_of(learner: Learner) -> list[torch.Tensor]:
    assert learner.mean is not None
    return [*(p.detach().clone() for p in learner.model.parameters()), *(v.clone() for v in learner.mean.values)]


def plain(history: History) -> dict[str, Any]:
    """All of it but the seconds, so that two can be compared."""
    content = dataclasses.asdict(history)
    for name in ("training", "evaluation", "compilation"):
        del content[name]
    content["frames"] = [(where, image.tolist()) for where, image in history.frames]
    content["pictures"] = [{i: image.tolist() for i, image in images.items()} for images in history.pictures]
    return json.loads(json.dumps(content))  # NaN as a word, so that it equals itself


def alike(a: History, b: History) -> bool:
    return json.dumps(plain(a)) == json.dumps(plain(b))


@dataclass
class Watcher:
    """Collects reports; stops at a step, if it is told one."""

    stop: int | None = None

    def __post_init__(self) -> None:
        self.reports: list[StepReport] = []

    def stepped(self, report: StepReport) -> None:
        self.reports.append(report)
        if report.step == self.stop:
            raise KeyboardInterrupt

    def looked(self, history: History) -> None: ...

    def finished(self, learner: Learner) -> None: ...


def test_optimiser_mean_and_rate_go_on_across_chunks(stream: Stream, build: Callable[[], Model]) -> None:
    optimisers, means, counts = set(), set(), []

    @dataclass(frozen=True)
    class Spy(FineTune):
        def batch(self, state: Any, new: Pixels) -> Pixels:
            assert isinstance(learner.optimiser, Adam)
            assert learner.mean is not None
            optimisers.add(id(learner.optimiser))
            means.add(id(learner.mean))
            counts.append((learner.optimiser.count, learner.mean.count))
            return new

    learner, watcher = new_learner(Spy(), build, 3), Watcher()
    learn(stream, learner, SHORT, [watcher])
    assert len(optimisers) == len(means) == 1
    assert counts == [(i, i) for i in range(15)]
    rates = [report.learning_rate for report in watcher.reports]
    assert rates == pytest.approx([2e-2 * min(1.0, (i + 1) / 8) for i in range(15)])
    assert [report.task for report in watcher.reports] == [f"chunk {1 + i // 5}/3" for i in range(15)]
    assert {report.last_step for report in watcher.reports} == {15}


def test_an_announced_stream_begins_anew(shared_scene: Path, build: Callable[[], Model]) -> None:
    learner = new_learner(FineTune(), build, 3)
    learn(make_stream(load_scene(shared_scene), ["right", "left"]), learner, SHORT)
    assert isinstance(learner.optimiser, Adam)
    assert learner.mean is not None
    assert (learner.optimiser.count, learner.mean.count) == (5, 5)


def test_looks_come_by_the_steps_of_the_stream_also_within_chunks(stream: Stream, build: Callable[[], Model]) -> None:
    history = learn(stream, new_learner(FineTune(), build, 3), SHORT)
    assert [where * 5 for where, _ in history.curve] == pytest.approx([4, 8, 12, 15])
    assert [where * 5 for where, _ in history.frames] == pytest.approx([7, 14, 15])
    for (_, means), looks in zip(history.curve, history.looks, strict=True):
        assert [len(values) for values in looks] == [min(len(part.val), 1) for part in stream]
        for mean, values in zip(means, looks, strict=True):
            assert mean == pytest.approx(np.mean(values)) if values else math.isnan(mean)


def test_scores_come_at_their_intervals_and_at_the_end(stream: Stream, build: Callable[[], Model]) -> None:
    learner = new_learner(Replay(memory_rays=50), build, 3)
    history = learn(stream, learner, SHORT)
    assert history.scored == [2, 3]
    assert [over for over, _ in history.seen] == [1, 2, 3]
    assert [len(values) for _, values in history.seen] == [2, 4, 6]
    assert [len(row) for row in (*history.R, *history.psnr, *history.ssim)] == [3] * 6
    assert len(history.pictures) == 2
    for mean, part, values in zip(history.R[-1], stream, history.psnr[-1], strict=True):
        assert values == evaluate(learner.shown, part.test).psnr
        assert mean == pytest.approx(np.mean(values)) if values else math.isnan(mean)
    seen = Views.concatenate([part.train for part in stream])
    assert history.seen[-1][1] == evaluate(learner.shown, seen, with_ssim=False).psnr
    other = learn(stream, new_learner(FineTune(), build, 3), dataclasses.replace(SHORT, score_every=9, seen_every=None))
    assert other.scored == [3]
    assert other.seen == []


def test_views_are_scored_with_the_mean_of_the_parameters(stream: Stream, build: Callable[[], Model]) -> None:
    learner = new_learner(FineTune(), build, 3)
    history = learn(stream, learner, SHORT)
    assert learner.mean is not None
    by_hand = build()
    by_hand.load_state_dict(learner.model.state_dict())
    with torch.no_grad():
        for parameter, value in zip(by_hand.parameters(), learner.mean.values, strict=True):
            parameter.copy_(value)
    watched = next(j for j, part in enumerate(stream) if len(part.test))
    assert history.psnr[-1][watched] == evaluate(by_hand, stream[watched].test).psnr
    assert history.psnr[-1][watched] != evaluate(learner.model, stream[watched].test).psnr


ROWS = [
    "finetune",
    "replay:memory-rays=90,memory-fill=reservoir",
    "replay:memory-rays=90,memory-fill=highest,memory-draw=weighted,exploration=0.25,update-losses",
    "replay:memory-rays=90,memory-fill=lowest",
    "replay:memory-rays=90,memory-fill=loss-grid",
    "replay-all",
    "agem:memory-rays=90",
    "replay-images:memory-bytes=1500,past-share=0.75",
    "generative:renew-every=2",
    "generative-free",
    "replay+:memory-rays=90",
    "replay+:memory-bytes=1500",
    "ewc:importance-rays=32",
]


@pytest.mark.parametrize("stops", [(5,), (10,), (3,), (7, 13), (1, 9)], ids=str)
@pytest.mark.parametrize("row", ROWS)
def test_a_stream_resumed_after_or_within_a_chunk_ends_alike(
    row: str, stops: tuple[int, ...], stream: Stream, model: GridModel, build: Callable[[], Model], tmp_path: Path
) -> None:
    straight = new_learner(make_strategy(row, Run()), build, 3)
    learn(stream, straight, SHORT)
    stopped = new_learner(make_strategy(row, Run()), build, 3)
    for stop in stops:
        if stop % 5:
            with pytest.raises(KeyboardInterrupt):
                learn(stream, stopped, SHORT, [Watcher(stop)])
        else:
            learn(stream, stopped, SHORT, until=stop // 5)
        save_checkpoint(tmp_path / "a.pt", stopped, {}, model)
        stopped = new_learner(make_strategy(row, Run()), lambda: model.build(99, "cpu"), 3)
        resume(stopped, load_checkpoint(tmp_path / "a.pt"), CONSTANT)
        assert (stopped.history.steps, stopped.done, stopped.at) == (stop, stop // 5, stop % 5)
    history = learn(stream, stopped, SHORT)
    assert all(torch.equal(a, b) for a, b in zip(weights_of(straight), weights_of(stopped), strict=True))
    assert alike(history, straight.history)
    assert history.steps == 15


@pytest.mark.parametrize("option", ["score_every", "seen_every"])
def test_intervals_that_cannot_be_are_refused(option: str, stream: Stream, build: Callable[[], Model]) -> None:
    settings = dataclasses.replace(SHORT, **{option: 0})
    with pytest.raises(NerfclError, match=f"--{option.replace('_', '-')} 0"):
        learn(stream, new_learner(FineTune(), build, 3), settings)


def test_a_row_that_stores_rays_while_they_are_learned_is_the_same_in_a_comparison(
    shared_scene: Path, tmp_path: Path
) -> None:
    # Its first task cannot be another strategy's: the memory would be empty after it.
    row = "replay:memory-fill=highest"
    quick = ["--data", str(shared_scene), "--img-wh", "16", "16", "--finest", "16", "--steps", "8", "--rays", "64"]
    quick += ["--evaluate-every", "9", "--frame-every", "9", "--memory-rays", "64", "--device", "cpu"]
    assert main(["run", *quick, "--strategy", row, "--out", str(tmp_path / "alone")]) == 0
    assert main(["compare", *quick, "--strategies", "finetune", row, "--out", str(tmp_path / "both")]) == 0
    alone = json.loads((tmp_path / "alone/results.json").read_text())
    compared = json.loads((tmp_path / "both/comparison.json").read_text())["runs"]
    assert compared[1]["R"] == alone["R"]
    assert compared[1]["memory_bytes"] == alone["memory_bytes"]
    assert compared[0]["R"][0] == alone["R"][0], "the first task is learned alike nevertheless"


def test_chunks_without_a_view_to_look_at_are_passed_over(shared_scene: Path, build: Callable[[], Model]) -> None:
    chunks = make_trajectory(load_scene(shared_scene), "nearest", 1)
    assert any(len(part.val) == 0 for part in chunks)
    assert any(len(part.test) == 0 for part in chunks)
    for views in (1, 4):
        history = learn(chunks, new_learner(FineTune(), build, 3), dataclasses.replace(SHORT, evaluate_views=views))
        for looks in history.looks:
            assert [len(values) for values in looks] == [min(len(part.val), views) for part in chunks]
        assert [math.isnan(value) for value in history.R[-1]] == [len(part.test) == 0 for part in chunks]
