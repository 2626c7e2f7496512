"""What version 0.1 wrote is read, evaluated, continued and refused as if it had been written today."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfcl.cli.main import main
from nerfcl.config.experiment import Experiment
from nerfcl.config.streams import FrameStream
from nerfcl.errors import NerfclError
from nerfcl.experiments.folders import description_in
from nerfcl.memory.rays import RayMemorySettings
from nerfcl.online.learner import OnlineLearner
from nerfcl.strategies.replay import Replay
from nerfcl.training.checkpoints import load_checkpoint
from nerfcl.training.migration import migrated
from support.folders import results_in
from support.refusals import refused
from support.version_0_1 import ONLINE, TASKS, restore


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return restore(tmp_path, monkeypatch)


def last_psnr(folder: Path) -> float:
    return float(np.mean([view["psnr"][-1] for view in results_in(folder)["views"]]))


# What version 0.1 said of each; train.py and train_online.py as its own eval.py printed it. It sampled rays otherwise.
TOLERANCE = 0.05  # dB
EVALUATED: dict[str, tuple[list[str], Callable[[Path], float]]] = {
    "run/checkpoints/task-2.pt": ([], lambda old: last_psnr(old / "run")),
    "compare/seed-0/replay/checkpoints/task-2.pt": ([], lambda old: last_psnr(old / "compare/seed-0/replay")),
    "online/checkpoints/latest.pt": ([], lambda old: last_psnr(old / "online")),
    "learner.pt": (
        ["--data", "tiny"],
        lambda old: float(np.mean(list(json.loads((old / "learner.json").read_text()).values()))),
    ),
    "train.ckpt": (["--view", "right"], lambda _: 11.19),
    "train_online.ckpt": ([], lambda _: 10.68),
}


@pytest.mark.parametrize("name", EVALUATED)
def test_its_checkpoints_give_the_figures_that_it_gave(name: str, old: Path) -> None:
    options, expected = EVALUATED[name]
    assert main(["eval", str(old / name), *options, "--out", "scores"]) == 0
    scores = json.loads(Path("scores/scores.json").read_text())
    assert scores["psnr"] == pytest.approx(expected(old), abs=TOLERANCE)


@pytest.mark.parametrize("name", ["learner.pt", "watch/checkpoints/latest.pt"])
def test_a_checkpoint_of_pushed_frames_asks_for_a_scene(
    name: str, old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--data" in refused(main, ["eval", str(old / name)], capsys)
    assert main(["eval", str(old / name), "--data", "tiny", "--out", "scores"]) == 0


def test_its_run_goes_on(old: Path) -> None:
    expected = results_in(old / "run")
    (old / "run/results.json").unlink()
    (old / "run/checkpoints/task-2.pt").unlink()
    arguments = ["run", *TASKS, "--ema-decay", "0.5", "--out", "v0.1/run"]
    assert main(arguments) == 0
    R = results_in(old / "run")["R"]
    assert R[0] == expected["R"][0], "the first task was not learned again"
    assert np.isfinite(R[1]).all()


def test_its_finished_stream_is_not_learned_again(old: Path) -> None:
    before = results_in(old / "online")
    assert main(["online", *ONLINE, "--out", "v0.1/online"]) == 0
    after = results_in(old / "online")
    assert (after["R"], after["tested"]) == (before["R"], before["scored"])
    assert after["seconds"] == before["seconds"]


def test_its_comparison_takes_another_seed(old: Path) -> None:
    before = (old / "compare/seed-0/replay/results.json").stat().st_mtime_ns
    strategies = ["--strategies", "ewc:strength=1", "replay", "--seeds", "0", "1"]
    assert main(["compare", *TASKS, *strategies, "--out", "v0.1/compare"]) == 0
    assert (old / "compare/seed-0/replay/results.json").stat().st_mtime_ns == before
    rows = json.loads((old / "compare/comparison.json").read_text())["rows"]
    assert [row["strategy"] for row in rows] == ["ewc:strength=1", "replay"]


def test_another_run_in_its_folder_is_refused(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", *TASKS, "--ema-decay", "0.25", "--out", "v0.1/run"]
    assert "ema" in refused(main, arguments, capsys)


def test_its_descriptions_are_read(old: Path) -> None:
    run = description_in(old / "run")
    assert isinstance(run, Experiment)
    assert run.strategy == Replay(memory=RayMemorySettings(rays=16))
    assert (run.training.steps, run.training.rays, run.training.optimiser.ema_decay) == (4, 32, 0.5)
    stream = description_in(old / "online")
    assert isinstance(stream, Experiment)
    assert stream.stream == FrameStream()
    assert stream.training.steps == 2


def test_its_learner_goes_on_observing(old: Path) -> None:
    learner = OnlineLearner.load(old / "learner.pt")
    training = learner.experiment.training
    assert (training.rays, training.steps, training.optimiser.learning_rate) == (32, 3, 1e-2)
    assert learner.experiment.strategy == Replay(memory=RayMemorySettings(rays=16), replay_fraction=0.75)
    assert learner.experiment.seed == 7
    learner.observe(torch.zeros(16, 16, 3, dtype=torch.uint8), torch.eye(4), (20.0, 20.0, 8.0, 8.0))
    learner.finish()
    learner.close()


def test_a_run_on_its_config_is_that_run(old: Path) -> None:
    (old / "run/checkpoints/task-2.pt").unlink()
    assert main(["run", "--config", "v0.1/run/config.json", "--out", "again"]) == 0
    again, before = (description_in(folder) for folder in (Path("again"), old / "run"))
    assert isinstance(again, Experiment)
    assert again == before


def test_settings_of_the_sampler_before_are_left_out() -> None:
    occupancy = {"cells": 16, "steps": 32, "warm_up": 128, "coarse": 4}
    content = {"format": "nerfcl checkpoint 3", "model_settings": {"kind": "occupancy", "occupancy": occupancy}}
    assert migrated(content, Path("x.pt"))["model_settings"]["occupancy"] == {"cells": 16, "steps": 32}
    for damaged in (None, {"occupancy": 5}):
        assert migrated({**content, "model_settings": damaged}, Path("x.pt"))["model_settings"] == damaged


def test_checkpoints_from_before_it_are_refused() -> None:
    content: dict[str, Any] = {"format": "nerfcl checkpoint 1"}
    with pytest.raises(NerfclError, match=r"old\.pt: was written before version 0\.1"):
        migrated(content, Path("old.pt"))
    assert migrated({"format": "a picture"}, Path("x.pt")) == {"format": "a picture"}


def test_every_checkpoint_of_it_loads(old: Path) -> None:
    paths = sorted([*old.rglob("*.pt"), *old.rglob("*.ckpt")])
    assert len(paths) == 12
    for path in paths:
        assert load_checkpoint(path).done >= 0
