"""`nerfcl online`, as a user meets it: what it writes, how it goes on after a stop, and what a kill costs."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cli.quick import CAMERA, FRAMES, RAY
from nerfcl.cli.main import main
from nerfcl.scenes import load_scene
from nerfcl.training.checkpoints import load_checkpoint, save_checkpoint
from nerfcl.training.learner import Learner
from support.folders import assert_same_run, files_in, read_json, results_in, temporary_files
from support.waiting import kill_when

REPLAY = ["--memory-rays", "99"]


def command(scene: Path, out: Path, *more: str) -> list[str]:
    return ["online", "--data", str(scene), *FRAMES, "--out", str(out), *more]


def online(scene: Path, out: Path, *more: str) -> dict[str, Any]:
    """What a run leaves in results.json."""
    assert main(command(scene, out, *more)) == 0
    return results_in(out)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, shared_scene: Path) -> Path:
    out = tmp_path_factory.mktemp("online") / "replay"
    online(shared_scene, out, *REPLAY)
    return out


def test_it_writes_everything_that_it_promises(finished: Path) -> None:
    found = files_in(finished)
    assert {"config.json", "results.json", "checkpoints/latest.pt"} <= found
    pictures = {"frames.png", "frames.gif", "chunks.png", "chunks.gif", "evolution.png"}
    assert pictures | {f"chunks/after-{over}.png" for over in results_in(finished)["tested"]} <= found
    assert list(finished.rglob("*tfevents*"))
    assert not temporary_files(finished)
    for name in pictures:
        with Image.open(finished / name) as image:
            assert np.ptp(np.asarray(image.convert("RGB"))) > 50, "there is something to see"


def test_results_have_their_keys_and_agree_with_each_other(finished: Path, shared_scene: Path) -> None:
    results = results_in(finished)
    assert results["tasks"] == ["chunk 1/3", "chunk 2/3", "chunk 3/3"]
    assert (results["strategy"], results["seed"], results["steps"], results["total_steps"]) == ("replay", 0, 10, 30)
    assert (results["frames"], results["tested"]) == (6, [1, 2, 3])
    assert sorted(view["name"] for view in results["views"]) == sorted(load_scene(shared_scene).test.names)
    assert results["psnr"] == pytest.approx(np.mean([view["psnr"][-1] for view in results["views"]]))
    R = results["R"]
    assert len(R) == 3
    for j, task in enumerate(results["tasks"]):
        views = [view for view in results["views"] if view["task"] == task]
        for i, row in enumerate(R):
            assert row[j] == (pytest.approx(np.mean([view["psnr"][i] for view in views])) if views else None)
    assert results["average"] == pytest.approx(np.mean([value for value in R[-1] if value is not None]))
    past = [(R[j][j], R[2][j]) for j in (0, 1) if R[2][j] is not None]
    assert results["backward_transfer"] == pytest.approx(np.mean([end - begin for begin, end in past]))
    assert 99 * RAY + CAMERA <= results["memory_bytes"] <= 99 * RAY + 6 * CAMERA


def test_it_is_evaluated_within_chunks_too(finished: Path) -> None:
    history = load_checkpoint(finished / "checkpoints/latest.pt").history
    assert [validation.at * 10 for validation in history.validation] == pytest.approx([8, 16, 24, 30])
    assert [over for over, _ in history.seen] == [1, 2, 3]


def test_the_command_in_its_config_runs_it_again(finished: Path, tmp_path: Path) -> None:
    again = read_json(finished / "config.json")["command"].split()
    assert again[:2] == ["nerfcl", "online"]
    again[again.index("--out") + 1] = str(tmp_path / "again")
    assert main(again[1:]) == 0
    assert_same_run(tmp_path / "again", finished)


def test_a_finished_run_is_not_trained_again(
    finished: Path, shared_scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latest = finished / "checkpoints/latest.pt"
    before = latest.stat().st_mtime_ns
    results = online(shared_scene, finished, *REPLAY)
    assert latest.stat().st_mtime_ns == before
    assert results["total_steps"] == 30
    printed = capsys.readouterr().out
    assert "6 frames, " in printed
    assert f"PSNR of all test views: {results['psnr']:.2f} dB" in printed


@pytest.mark.parametrize("chunks", [1, 2])
def test_a_run_that_was_stopped_goes_on_after_its_last_chunk(
    chunks: int, finished: Path, shared_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "stopped"
    steps: list[int] = []

    def stop(path: Path, learner: Learner, *args: Any, **kwargs: Any) -> None:
        save_checkpoint(path, learner, *args, **kwargs)
        steps.append(learner.history.steps)
        if len(steps) == chunks:
            raise KeyboardInterrupt

    monkeypatch.setattr("nerfcl.experiments.outputs.save_checkpoint", stop)
    assert main(command(shared_scene, out, *REPLAY)) == 130
    online(shared_scene, out, *REPLAY)
    assert steps == [10, 20, 30], "no chunk is learned twice"
    assert_same_run(out, finished)


def test_killed_three_times_it_ends_with_the_same_figures(shared_scene: Path, tmp_path: Path) -> None:
    straight, out, rng = tmp_path / "straight", tmp_path / "killed", random.Random(4)
    more = [*REPLAY, "--chunk-frames", "1", "--steps", "80", "--memory-fill", "reservoir"]
    online(shared_scene, straight, *more)
    arguments = command(shared_scene, out, *more)
    latest = out / "checkpoints/latest.pt"

    kill_when(arguments, latest.exists)  # the first chunk is over
    first = load_checkpoint(latest).done
    assert first < 6

    kill_when(arguments, lambda: bool(temporary_files(out / "checkpoints")))  # while a checkpoint is written
    second = load_checkpoint(latest).done
    assert first <= second < 6

    changed, wait = latest.stat().st_mtime_ns, rng.uniform(0.0, 0.15)
    times: list[float] = []

    def a_while_after_the_next_chunk() -> bool:
        if not times and latest.stat().st_mtime_ns != changed:
            times.append(time.monotonic())
        return bool(times) and time.monotonic() - times[0] > wait

    kill_when(arguments, a_while_after_the_next_chunk)
    third = load_checkpoint(latest).done
    assert second < third <= 6

    assert online(shared_scene, out, *more)["total_steps"] == 6 * 80
    assert_same_run(out, straight)


def test_joint_training_has_all_frames_at_once(shared_scene: Path, tmp_path: Path) -> None:
    results = online(shared_scene, tmp_path / "out", "--strategy", "joint")
    assert (results["tasks"], results["total_steps"], len(results["views"])) == (["all frames"], 30, 4)
    assert results["psnr"] == pytest.approx(results["R"][0][0])
    assert (results["forgetting"], results["backward_transfer"]) == (0.0, 0.0)


@pytest.mark.parametrize("strategy", ["finetune", "replay-all", "agem", "replay:memory-fill=lowest"])
def test_strategies_for_streams_come_to_their_end(strategy: str, shared_scene: Path, tmp_path: Path) -> None:
    more = ["--strategy", strategy, "--chunk-frames", "4", "--seen-every", "0", "--frame-every", "0"]
    results = online(shared_scene, tmp_path / "out", *more)
    assert results["total_steps"] == 20
    assert math.isfinite(results["psnr"])
    assert (results["memory_bytes"] == 0) == (strategy == "finetune")
    history = load_checkpoint(tmp_path / "out/checkpoints/latest.pt").history
    assert history.seen == history.frames == []
