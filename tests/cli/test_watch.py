"""`nerfcl online --watch`, as a user meets it: a folder that is being written to, its end, signals, what is broken."""

from __future__ import annotations

import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli.quick import CAMERA, RAY
from nerfcl.cli.main import main
from nerfcl.online.learner import LEARNING_THREAD
from nerfcl.scenes import watched
from nerfcl.training.checkpoints import load_checkpoint
from scenes.recording import list_of, png_of, record
from support.folders import assert_same_checkpoint, read_json, results_in, without_time
from support.refusals import refused
from support.waiting import PATIENCE, in_background, wait_until

QUICK = ["--img-wh", "16", "16", "--max-resolution", "16", "--rays", "64", "--steps", "5"]
QUICK += ["--device", "cpu"]


def command(folder: Path, out: Path) -> list[str]:
    options = [*QUICK, "--memory-rays", "99", "--box", "0", "0", "0", "2.6"]
    return ["online", "--watch", str(folder), *options, "--out", str(out)]


def assert_same_outcome(one: Path, other: Path) -> None:
    """All that two runs left is equal, but for the names of the folders that they watched."""
    first, second = (without_time(results_in(folder)) for folder in (one, other))
    for results in (first, second):
        del results["experiment"]["stream"]["folder"]
    assert first == second
    assert_same_checkpoint(one / "checkpoints/latest.pt", other / "checkpoints/latest.pt")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven frames, all there."""
    folder = tmp_path_factory.mktemp("watched") / "camera"
    record(folder, range(7))
    (folder / "done").touch()
    return folder


@pytest.fixture(scope="module")
def finished(recorded: Path) -> Path:
    """What a run over the recorded frames leaves."""
    out = recorded.parent / "out"
    assert main(command(recorded, out)) == 0
    return out


def test_results_tell_what_became_of_the_frames(finished: Path) -> None:
    results = results_in(finished)
    assert results["frames"] == {"seen": 7, "waiting": 0, "dropped": 0}
    assert results["total_steps"] == 4 * 5, "three chunks of two, and one frame that was left"
    assert (results["strategy"], results["seed"]) == ("replay", 0)
    assert 99 * RAY + CAMERA <= results["memory_bytes"] <= 99 * RAY + 7 * CAMERA
    assert len(results["psnr_of_frames"]) == 7
    assert all(math.isfinite(value) and value > 5.0 for value in results["psnr_of_frames"])
    assert results["psnr"] == pytest.approx(np.mean(results["psnr_of_frames"]))
    assert load_checkpoint(finished / "checkpoints/latest.pt").done == 4
    assert read_json(finished / "config.json")["experiment"] == results["experiment"]


def test_its_command_and_its_config_run_it_again(
    recorded: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = read_json(finished / "config.json")["command"].split()
    again[again.index("--out") + 1] = str(tmp_path / "again")
    assert main(again[1:]) == 0
    assert_same_outcome(tmp_path / "again", finished)
    described = ["online", "--config", str(finished / "config.json"), "--out", str(tmp_path / "described")]
    assert main(described) == 0
    assert_same_outcome(tmp_path / "described", finished)
    assert capsys.readouterr().out.count("7 frames seen") == 2


def test_without_a_box_it_is_what_the_first_cameras_look_at(recorded: Path, tmp_path: Path) -> None:
    options, out = ["--strategy", "finetune", "--chunk-frames", "4"], tmp_path / "out"
    assert main(["online", "--watch", str(recorded), *QUICK, *options, "--out", str(out)]) == 0
    assert (results_in(out)["strategy"], results_in(out)["total_steps"]) == ("finetune", 2 * 5)
    assert results_in(out)["psnr"] > 5.0, "the ball lies within it"


@pytest.mark.parametrize("listed_first", [False, True])
def test_frames_are_taken_as_they_are_completed(finished: Path, tmp_path: Path, listed_first: bool) -> None:
    folder, out = tmp_path / "camera", tmp_path / "out"
    folder.mkdir()

    def work() -> None:
        record(folder, range(7), pause=0.03, listed_first=listed_first)
        (folder / "done").touch()

    camera = in_background(work)
    assert main(command(folder, out)) == 0
    camera.join(PATIENCE)
    assert_same_outcome(out, finished)


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_the_next_start_goes_on_from_there(finished: Path, tmp_path: Path, kind: int) -> None:
    folder, out = tmp_path / "camera", tmp_path / "out"
    latest = out / "checkpoints/latest.pt"
    record(folder, range(5))
    before = signal.getsignal(kind)

    def stop() -> None:
        wait_until(lambda: latest.exists() and load_checkpoint(latest).done == 2)
        os.kill(os.getpid(), kind)

    thread = in_background(stop)
    assert main(command(folder, out)) == 0
    thread.join(PATIENCE)
    assert signal.getsignal(kind) is before
    results = results_in(out)
    assert results["frames"] == {"seen": 5, "waiting": 1, "dropped": 0}
    assert (results["total_steps"], len(results["psnr_of_frames"])) == (10, 4)
    record(folder, range(5, 7))
    (folder / "done").touch()
    assert main(command(folder, out)) == 0
    assert_same_outcome(out, finished)
    assert main(command(folder, out)) == 0, "a third start finds nothing to do"
    assert_same_outcome(out, finished)


def test_a_signal_before_the_first_chunk_is_no_loss(finished: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "camera", tmp_path / "out"
    record(folder, range(1))

    def stop() -> None:
        wait_until((out / "config.json").exists)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)

    previous = signal.signal(signal.SIGTERM, lambda *_: None)  # where it comes too early
    try:
        thread = in_background(stop)
        assert main(command(folder, out)) == 0
        thread.join(PATIENCE)
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert results_in(out)["frames"] == {"seen": 1, "waiting": 1, "dropped": 0}
    assert results_in(out)["psnr"] is None
    record(folder, range(1, 7))
    (folder / "done").touch()
    assert main(command(folder, out)) == 0
    assert_same_outcome(out, finished)


def test_what_is_still_broken_after_the_marker_ends_it_until_it_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watched, "PATIENCE", 0.3)
    folder, out = tmp_path / "camera", tmp_path / "out"
    record(folder, range(7))
    (folder / "images/r_3.png").write_bytes(png_of(3)[:-40])
    (folder / "done").touch()
    assert main(command(folder, out)) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("nerfcl: ")
    assert "r_3.png: is damaged or truncated" in line
    assert not [thread for thread in threading.enumerate() if thread.name == LEARNING_THREAD], "nothing learns on"
    record(folder, range(7))  # mended
    assert main(command(folder, out)) == 0
    assert results_in(out)["frames"]["seen"] == 7


def test_a_folder_that_is_done_without_a_frame_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "done").touch()
    assert f"--watch {tmp_path}: ended before any frame was complete" in refused(
        main, command(tmp_path, tmp_path / "out"), capsys
    )


# --- frames that are no longer there ---


def losing(folder: Path, out: Path, lose: Callable[[], object], end: str) -> None:
    """Watch a folder of five frames of which some are lost when they have been learned; end it in one of two ways."""
    latest = out / "checkpoints/latest.pt"

    def work() -> None:
        wait_until(lambda: latest.exists() and load_checkpoint(latest).done == 2)
        lose()
        if end == "marker":
            (folder / "done").touch()
        else:
            os.kill(os.getpid(), signal.SIGINT)

    thread = in_background(work)
    assert main(command(folder, out)) == 0
    thread.join(PATIENCE)


@pytest.mark.parametrize("end", ["marker", "signal"])
def test_a_learned_image_that_is_deleted_costs_its_own_score_only(
    end: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "camera", tmp_path / "out"
    record(folder, range(5))
    losing(folder, out, (folder / "images/r_1.png").unlink, end)
    results, learned = results_in(out), 5 if end == "marker" else 4
    assert results["scored_frames"] == [i for i in range(learned) if i != 1]
    assert len(results["psnr_of_frames"]) == learned - 1
    assert results["psnr"] == pytest.approx(np.mean(results["psnr_of_frames"]))
    (unread,) = results["unreadable_frames"]
    assert unread["frame"] == 1
    assert "r_1.png: no such image" in unread["why"]
    assert f"1 of {learned} frames cannot be read again and are not scored" in capsys.readouterr().err


def test_a_list_that_shrinks_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "camera", tmp_path / "out"
    record(folder, range(5))
    losing(folder, out, lambda: (folder / "transforms.json").write_text(list_of(3)), "signal")
    results = results_in(out)
    assert results["scored_frames"] == [0, 1, 2]
    assert results["unreadable_frames"] == [{"frame": 3, "why": "is no longer listed in transforms.json"}]
    assert "1 of 4 frames cannot be read again" in capsys.readouterr().err


def test_a_checkpoint_is_evaluated_on_the_frames_that_are_left(
    finished: Path, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = recorded / "images/r_2.png"
    content = file.read_bytes()
    file.unlink()
    try:
        assert main(["eval", str(finished / "checkpoints/latest.pt"), "--out", str(tmp_path / "out")]) == 0
    finally:
        file.write_bytes(content)
    printed = capsys.readouterr()
    assert printed.out.startswith("6 views: ")
    assert f"1 of 7 frames cannot be read again (frame 2: {file}: no such image" in printed.err


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    finished: Path, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    latest = out / "checkpoints/latest.pt"
    latest.write_bytes(latest.read_bytes()[:-1000])
    assert main(command(recorded, out)) == 0
    printed = capsys.readouterr().err
    assert "latest.pt: is damaged" in printed
    assert "nerfcl: resuming from " in printed
    assert_same_outcome(out, finished)


def test_a_checkpoint_of_another_kind_in_its_folder_is_refused(
    finished: Path, recorded: Path, shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = shutil.copytree(finished, tmp_path / "out"), tmp_path / "other"
    assert main(["online", "--data", str(shared_scene), *QUICK, "--memory-rays", "99", "--out", str(other)]) == 0
    shutil.copy(other / "checkpoints/latest.pt", out / "checkpoints/latest.pt")
    assert "latest.pt: was written by another run" in refused(main, command(recorded, out), capsys)
