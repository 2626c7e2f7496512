"""`nerfcl run`, as a user meets it: what it writes, how it goes on after a stop, and what its options change."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.quick import CAMERA, RAY, SMALL, TASKS
from nerfcl.cli.main import main
from nerfcl.training.checkpoints import save_checkpoint
from support.folders import assert_same_run, files_in, read_json, results_in, scalars, temporary_files


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, shared_scene: Path) -> Path:
    out = tmp_path_factory.mktemp("run") / "replay"
    assert main(["run", "--data", str(shared_scene), *TASKS, "--memory-rays", "64", "--out", str(out)]) == 0
    return out


def test_it_writes_everything_that_it_promises(finished: Path) -> None:
    found = files_in(finished)
    promised = {"config.json", "results.json", "matrix.png", "curves.png", "views.png", "forgetting.gif"}
    assert promised | {"checkpoints/task-1.pt", "checkpoints/task-2.pt"} <= found
    assert list(finished.rglob("*tfevents*"))
    assert not temporary_files(finished)


def test_results_have_their_keys_and_agree_with_each_other(finished: Path) -> None:
    results = results_in(finished)
    keys = {"strategy", "tasks", "seed", "steps", "total_steps", "seconds", "R", "tested", "average", "psnr"}
    assert keys | {"backward_transfer", "forgetting", "memory_bytes", "views", "experiment"} <= results.keys()
    assert results["seconds"].keys() == {"training", "evaluation", "compilation"}
    assert (results["strategy"], results["tasks"], results["steps"]) == ("replay", ["right", "left"], 12)
    assert (results["total_steps"], results["tested"]) == (24, [1, 2])
    R = results["R"]
    assert results["average"] == pytest.approx((R[1][0] + R[1][1]) / 2)
    assert results["backward_transfer"] == pytest.approx(R[1][0] - R[0][0])
    assert results["forgetting"] == pytest.approx(R[0][0] - R[1][0])
    for j, task in enumerate(results["tasks"]):
        views = [view for view in results["views"] if view["task"] == task]
        assert np.mean([view["psnr"][1] for view in views]) == pytest.approx(R[1][j])
        assert all(-1.0 <= value <= 1.0 for view in views for value in view["ssim"])
    assert results["psnr"] == pytest.approx(np.mean([view["psnr"][1] for view in results["views"]]))
    assert 64 * RAY + CAMERA <= results["memory_bytes"] <= 64 * RAY + 6 * CAMERA
    config = read_json(finished / "config.json")
    assert (config["experiment"], config["schema"]) == (results["experiment"], results["schema"])


def test_the_command_in_its_config_runs_it_again(finished: Path, tmp_path: Path) -> None:
    command = read_json(finished / "config.json")["command"].split()
    assert command[:2] == ["nerfcl", "run"]
    command[command.index("--out") + 1] = str(tmp_path / "again")
    assert main(command[1:]) == 0
    assert_same_run(tmp_path / "again", finished)


def test_a_run_that_was_stopped_goes_on_after_its_last_task(
    finished: Path, shared_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "stopped"
    arguments = ["run", "--data", str(shared_scene), *TASKS, "--memory-rays", "64", "--out", str(out)]
    calls = []

    def stop_at_the_second(*args: Any, **kwargs: Any) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        save_checkpoint(*args, **kwargs)

    monkeypatch.setattr("nerfcl.experiments.outputs.save_checkpoint", stop_at_the_second)
    assert main(arguments) == 130
    assert not (out / "results.json").exists()
    monkeypatch.undo()
    assert main(arguments) == 0
    assert_same_run(out, finished)


def test_without_a_folder_it_writes_into_one_named_after_the_label(
    shared_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--strategy", "nothing kept=finetune", "--tasks", "left"]
    assert main(["run", "--data", str(shared_scene), *TASKS, *options]) == 0
    results = results_in(Path("outputs/nothing-kept"))
    assert (results["strategy"], results["tasks"], results["memory_bytes"]) == ("nothing kept", ["left"], 0)
    printed = capsys.readouterr().out
    assert "outputs/nothing-kept" in printed
    assert f"{results['R'][0][0]:.2f}" in printed


@pytest.mark.parametrize("command", ["run", "compare"])
def test_without_frames_in_between_there_is_no_gif(command: str, shared_scene: Path, tmp_path: Path) -> None:
    arguments = [command, "--data", str(shared_scene), *TASKS, "--steps", "1", "--frame-every", "0"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert not list((tmp_path / "out").rglob("*.gif"))


def test_rays_per_pixel_reach_training_and_evaluation(
    shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "four"
    arguments = ["run", "--data", str(shared_scene), *TASKS, "--rays-per-pixel", "4", "--out", str(out)]
    assert main(arguments) == 0
    one = ["eval", str(out / "checkpoints/task-2.pt"), "--rays-per-pixel", "1", "--view", "right"]
    assert main([*one, "--out", str(tmp_path / "one")]) == 0
    scores = read_json(tmp_path / "one/scores.json")
    assert f"2 views: PSNR {scores['psnr']:.2f} dB" in capsys.readouterr().out
    assert scores["psnr"] != pytest.approx(results_in(out)["R"][1][0], abs=1e-6)
    experiment = read_json(out / "config.json")["experiment"]
    assert experiment["training"]["rays_per_pixel"] == experiment["strategy"]["rays_per_pixel"] == 4


def test_the_reference_network_is_trained_and_evaluated(shared_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "nerf"
    options = [*SMALL, "--field", "nerf", "--samples", "6", "--importance", "4", "--rays", "32", "--steps", "12"]
    assert main(["run", "--data", str(shared_scene), *options, "--out", str(out)]) == 0
    assert main(["eval", str(out / "checkpoints/task-2.pt"), "--view", "left"]) == 0
    scores = read_json(out / "eval/test-left/scores.json")
    assert scores["psnr"] == pytest.approx(results_in(out)["R"][1][1])
    field = read_json(out / "config.json")["experiment"]["field"]
    assert (field["kind"], field["samples"], field["importance"]) == ("nerf", 6, 4)


def test_epochs_and_schedules_reach_a_run_and_are_told(shared_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "epochs"
    options = ["--epochs", "2", "--schedule", "step", "--decay-epochs", "1", "3", "--optimiser", "sgd"]
    options += ["--learning-rate", "0.5"]
    assert main(["run", "--data", str(shared_scene), *TASKS, *options, "--out", str(out)]) == 0
    assert (results_in(out)["epochs"], results_in(out)["total_steps"]) == (2, 24)
    assert all(scalars(out / "tensorboard", tag) for tag in ("train/loss", "train/psnr", "train/replay_loss"))
    rates = scalars(out / "tensorboard", "lr")
    # 3 views of 16 x 16 a task, 128 a step: 6 steps an epoch; steps are counted from 1.
    assert [step for step, _ in rates] == [1, 10, 20, 24]
    assert [value for _, value in rates] == pytest.approx([0.5, 0.05, 0.005, 0.005])


def test_a_process_that_compiles_gives_the_same_bits_as_one_that_loads_what_was_compiled(
    shared_scene: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    options = ["--data", str(shared_scene), "--img-wh", "32", "32", "--device", "cpu", "--tasks", "right"]
    options += ["--steps", "100", "--rays", "256", "--evaluate-every", "999", "--frame-every", "999"]
    for out in ("compiled", "loaded"):
        command = [sys.executable, "-m", "nerfcl", "run", *options, "--out", str(tmp_path / out)]
        subprocess.run(command, env=environment, capture_output=True, check=True)
    assert_same_run(tmp_path / "compiled", tmp_path / "loaded")
