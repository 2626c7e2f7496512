"""`nerfcl online`, as a user meets it: what it writes, what it refuses, and what a kill costs."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nerfcl.cli.main import main
from nerfcl.cli.options import Online
from nerfcl.experiments import stream_runs
from nerfcl.experiments.stream_runs import set_up_stream
from nerfcl.scenes import load_scene
from nerfcl.streams.tasks import azimuth
from nerfcl.training.checkpoints import load_checkpoint
from nerfcl.training.learner import Learner

QUICK = ["--img-wh", "16", "16", "--finest", "16", "--rays", "64", "--memory-rays", "99", "--chunk-frames", "2"]
QUICK += ["--iters-per-chunk", "10", "--evaluate-every", "8", "--device", "cpu"]
PATIENCE = 90.0  # seconds


def online(scene: Path, out: Path, *more: str) -> dict[str, Any]:
    """What a run leaves in results.json."""
    assert main(["online", "--data", str(scene), *QUICK, "--out", str(out), *more]) == 0
    return json.loads((out / "results.json").read_text())


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def history_in(out: Path) -> str:
    """All that is known of a run but the seconds, as text: NaN is NaN there."""
    history = dataclasses.asdict(load_checkpoint(out / "checkpoints/latest.pt").history)
    for name in ("training", "evaluation", "compilation"):
        del history[name]
    history["frames"] = [(where, image.tolist()) for where, image in history["frames"]]
    history["pictures"] = [{i: image.tolist() for i, image in part.items()} for part in history["pictures"]]
    return json.dumps(history)


def without_time(results: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in results.items() if key != "seconds"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, shared_scene: Path) -> Path:
    out = tmp_path_factory.mktemp("online") / "replay"
    online(shared_scene, out)
    return out


def test_it_writes_everything_that_it_promises(finished: Path) -> None:
    found = files_in(finished)
    assert {"config.json", "results.json", "checkpoints/latest.pt"} <= found
    assert {"frames.png", "frames.gif", "chunks.png", "chunks.gif", "evolution.png"} <= found
    scored = json.loads((finished / "results.json").read_text())["scored"]
    assert {f"chunks/after-{over}.png" for over in scored} <= found
    assert any("tfevents" in name for name in found)
    assert not [name for name in found if Path(name).name.startswith(".")], "a temporary file was left behind"
    for name in ("frames.png", "chunks.png", "evolution.png", "frames.gif", "chunks.gif"):
        with Image.open(finished / name) as image:
            assert np.ptp(np.asarray(image.convert("RGB"))) > 50, "there is something to see"


def test_results_have_the_keys_of_an_offline_run_and_agree_with_each_other(finished: Path, shared_scene: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    keys = {"strategy", "tasks", "seed", "steps", "seconds", "R", "average", "backward_transfer", "forgetting"}
    assert keys | {"total_steps", "memory_bytes", "views", "psnr", "scored"} <= results.keys()
    assert results["tasks"] == ["chunk 1/3", "chunk 2/3", "chunk 3/3"]
    assert (results["strategy"], results["seed"], results["steps"], results["total_steps"]) == ("replay", 0, 10, 30)
    assert results["scored"] == [1, 2, 3]
    assert len(results["R"]) == 3
    assert sorted(view["name"] for view in results["views"]) == sorted(load_scene(shared_scene).test.names)
    last = [view["psnr"][-1] for view in results["views"]]
    assert results["psnr"] == pytest.approx(np.mean(last))
    for j, task in enumerate(results["tasks"]):
        views = [view for view in results["views"] if view["task"] == task]
        for i, row in enumerate(results["R"]):
            assert row[j] == (pytest.approx(np.mean([view["psnr"][i] for view in views])) if views else None)
    known = [value for value in results["R"][-1] if value is not None]
    assert results["average"] == pytest.approx(np.mean(known))
    past = [(results["R"][j][j], results["R"][2][j]) for j in (0, 1) if results["R"][2][j] is not None]
    assert results["backward_transfer"] == pytest.approx(np.mean([end - begin for begin, end in past]))
    # 99 rays of 11 bytes; pose, intrinsics, size and time (76 bytes) for each of at most 6 frames
    assert 99 * 11 + 76 <= results["memory_bytes"] <= 99 * 11 + 76 * 6


def test_it_is_evaluated_within_chunks_too(finished: Path) -> None:
    history = load_checkpoint(finished / "checkpoints/latest.pt").history
    assert [where * 10 for where, _ in history.curve] == pytest.approx([8, 16, 24, 30])
    assert [over for over, _ in history.seen] == [1, 2, 3]


def test_config_is_enough_to_run_it_again(finished: Path, tmp_path: Path) -> None:
    command = json.loads((finished / "config.json").read_text())["command"].split()
    assert command[:2] == ["nerfcl", "online"]
    command[command.index("--out") + 1] = str(tmp_path / "again")
    assert main(command[1:]) == 0
    again, first = (json.loads((folder / "results.json").read_text()) for folder in (tmp_path / "again", finished))
    assert without_time(again) == without_time(first)
    assert history_in(tmp_path / "again") == history_in(finished)


def test_a_finished_run_is_not_trained_again(finished: Path, shared_scene: Path) -> None:
    latest = finished / "checkpoints/latest.pt"
    before = latest.stat().st_mtime_ns
    results = online(shared_scene, finished)
    assert latest.stat().st_mtime_ns == before
    assert results["total_steps"] == 30


@pytest.mark.parametrize("chunks", [1, 2])
def test_a_run_that_was_stopped_goes_on_after_its_last_chunk(
    chunks: int, finished: Path, shared_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, save = tmp_path / "stopped", stream_runs.save_checkpoint
    steps: list[int] = []

    def stop(path: Path, learner: Learner, *rest: Any) -> None:
        save(path, learner, *rest)
        steps.append(learner.history.steps)
        if len(steps) == chunks:
            raise KeyboardInterrupt

    monkeypatch.setattr(stream_runs, "save_checkpoint", stop)
    assert main(["online", "--data", str(shared_scene), *QUICK, "--out", str(out)]) == 130
    results = online(shared_scene, out)
    assert steps == [10, 20, 30], "no chunk is learned twice"
    assert without_time(results) == without_time(json.loads((finished / "results.json").read_text()))
    assert history_in(out) == history_in(finished)


def kill(command: list[str], due: Callable[[], bool]) -> None:
    """Runs nerfcl in a process of its own, and kills it without a word when it is time."""
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "nerfcl.cli.main", *command], env={**os.environ, **threads},
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        until = time.monotonic() + PATIENCE
        while not due():
            assert time.monotonic() < until, "it never came so far"
            assert process.poll() is None, "it was over before"
            time.sleep(0.001)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL


def test_killed_three_times_it_ends_with_the_same_figures(shared_scene: Path, tmp_path: Path) -> None:
    straight, out, rng = tmp_path / "straight", tmp_path / "killed", random.Random(4)
    more = ["--chunk-frames", "1", "--iters-per-chunk", "80", "--memory-fill", "reservoir"]
    expected = online(shared_scene, straight, *more)
    command = ["online", "--data", str(shared_scene), *QUICK, "--out", str(out), *more]
    latest, aside = out / "checkpoints/latest.pt", out / "checkpoints/.latest.part.pt"

    kill(command, latest.exists)  # the first chunk is over
    first = load_checkpoint(latest).done
    assert first < 6

    kill(command, lambda: aside.exists())  # while a checkpoint is written
    second = load_checkpoint(latest).done
    assert first <= second < 6

    changed, wait = latest.stat().st_mtime_ns, rng.uniform(0.0, 0.15)
    times: list[float] = []

    def a_while_after_the_next_chunk() -> bool:
        if not times and latest.stat().st_mtime_ns != changed:
            times.append(time.monotonic())
        return bool(times) and time.monotonic() - times[0] > wait

    kill(command, a_while_after_the_next_chunk)
    third = load_checkpoint(latest).done
    assert second < third <= 6

    results = online(shared_scene, out, *more)
    assert without_time(results) == without_time(expected)
    assert history_in(out) == history_in(straight)
    assert results["total_steps"] == 6 * 80


def test_joint_takes_all_frames_at_once_for_the_same_steps_and_rays(shared_scene: Path, tmp_path: Path) -> None:
    config = Online(data=str(shared_scene), img_wh=(16, 16), rays=64, iters_per_chunk=10, chunk_frames=2)
    stream = set_up_stream(dataclasses.replace(config, strategy="replay"))
    joint = set_up_stream(dataclasses.replace(config, strategy="joint"))
    assert [len(part.train) for part in stream.stream] == [2, 2, 2]
    assert [len(part.train) for part in joint.stream] == [6]
    assert (len(joint.stream[0].test), len(joint.stream[0].val)) == (4, 4)
    assert (stream.training.steps, stream.training.rays) == (10, 64)
    assert (joint.training.steps, joint.training.rays) == (30, 128), "half of replay's rays are old ones"
    results = online(shared_scene, tmp_path / "joint", "--strategy", "joint")
    assert (results["tasks"], results["total_steps"], len(results["views"])) == (["all frames"], 30, 4)
    assert results["psnr"] == pytest.approx(results["R"][0][0])
    assert (results["forgetting"], results["backward_transfer"]) == (0.0, 0.0)


def test_joint_takes_as_many_frames_as_it_is_told(shared_scene: Path) -> None:
    config = Online(data=str(shared_scene), img_wh=(16, 16), iters_per_chunk=10, chunk_frames=2, frames=5)
    joint = set_up_stream(dataclasses.replace(config, strategy="joint"))
    assert len(joint.stream[0].train) == 5
    assert joint.training.steps == 30


def test_the_order_is_the_one_that_was_asked_for(shared_scene: Path, tmp_path: Path) -> None:
    listed = tmp_path / "order.txt"
    listed.write_text("5 0 3")
    config = Online(data=str(shared_scene), img_wh=(16, 16), chunk_frames=1)
    orders = {}
    for order in ("file", "azimuth", str(listed)):
        stream = set_up_stream(dataclasses.replace(config, order=order)).stream
        orders[order] = [name for part in stream for name in part.train.names]
        if order == "azimuth":
            angles = [azimuth(part.train.poses)[0] for part in stream]
            assert angles == sorted(angles)
    assert [name[-1] for name in orders["file"]] == ["0", "1", "2", "3", "4", "5"]
    assert [name[-1] for name in orders[str(listed)]] == ["5", "0", "3"]


@pytest.mark.parametrize("strategy", ["finetune", "replay-all", "agem", "replay:memory-fill=lowest"])
def test_every_strategy_for_streams_comes_to_its_end(strategy: str, shared_scene: Path, tmp_path: Path) -> None:
    results = online(shared_scene, tmp_path / "out", "--strategy", strategy, "--chunk-frames", "4")
    assert results["total_steps"] == 20
    assert math.isfinite(results["psnr"])
    assert (results["memory_bytes"] == 0) == (strategy == "finetune")


@pytest.mark.parametrize(
    ("options", "needle"),
    [
        (["--order", "zigzag"], "--order zigzag"),
        (["--frames", "0"], "--frames 0"),
        (["--frames", "7"], "--frames 7"),
        (["--chunk-frames", "0"], "--chunk-frames 0"),
        (["--iters-per-chunk", "0"], "--iters-per-chunk 0"),
        (["--score-every", "0"], "--score-every 0"),
        (["--seen-every", "0"], "--seen-every 0"),
        (["--frame-every", "0"], "--frame-every 0"),
        (["--memory-rays", "0"], "--memory-rays 0"),
        (["--memory-fill", "best"], "--memory-fill best"),
        (["--memory-fill", "highest", "--soft-replay"], "--soft-replay"),
        (["--average", "1"], "--average 1"),
        (["--strategy", "magic"], "--strategy"),
        (["--strategy", "agem:memory-rays=0"], "--memory-rays 0"),
        (["--data", "/nowhere"], "/nowhere"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_written(
    options: list[str], needle: str, shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["online", "--data", str(shared_scene), *QUICK, "--out", str(out), *options]) == 2
    printed = capsys.readouterr().err
    assert needle in printed
    assert "Traceback" not in printed
    assert not out.exists()


def test_a_folder_with_another_stream_is_not_touched(
    finished: Path, shared_scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: (finished / name).stat().st_mtime_ns for name in files_in(finished)}
    command = ["online", "--data", str(shared_scene), *QUICK, "--order", "file", "--out", str(finished)]
    assert main(command) == 2
    assert "order" in capsys.readouterr().err
    assert {name: (finished / name).stat().st_mtime_ns for name in files_in(finished)} == before
