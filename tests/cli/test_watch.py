"""A folder that is being written to: frames as they are completed, its end, signals, and what is broken."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import TINY_ANGLE, picture_of_ball, ring_pose
from nerfcl.cli.main import main
from nerfcl.errors import NerfclError
from nerfcl.scenes import watched
from nerfcl.scenes.watched import WatchedFolder
from nerfcl.training.checkpoints import load_checkpoint

QUICK = ["--img-wh", "16", "16", "--finest", "16", "--rays", "64", "--iters-per-chunk", "5", "--memory-rays", "99"]
QUICK += ["--box", "0", "0", "0", "2.6", "--device", "cpu"]
PATIENCE = 60.0  # seconds


def png_of(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture_of_ball(ring_pose(40.0 * number))).save(file, "PNG")
    return file.getvalue()


def list_of(count: int) -> str:
    entries = [{"file_path": f"./images/r_{i}", "transform_matrix": ring_pose(40.0 * i).tolist()} for i in range(count)]
    return json.dumps({"camera_angle_x": TINY_ANGLE, "frames": entries})


def write_slowly(path: Path, content: bytes, pause: float) -> None:
    """In two halves, over what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        time.sleep(pause)
        file.write(content[len(content) // 2 :])


def record(folder: Path, numbers: Iterable[int], pause: float, *, listed_first: bool = False) -> None:
    """What a camera does: image and entry of one frame after the other."""
    for i in numbers:
        image = (folder / f"images/r_{i}.png", png_of(i))
        entry = (folder / "transforms.json", list_of(i + 1).encode())
        for path, content in (entry, image) if listed_first else (image, entry):
            write_slowly(path, content, pause)


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.005)


def in_background(action: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def results_in(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run over seven frames leaves that were all there from the beginning."""
    folder = tmp_path_factory.mktemp("watched") / "camera"
    record(folder, range(7), 0.0)
    (folder / "done").touch()
    out = folder.parent / "out"
    assert main(["online", "--watch", str(folder), *QUICK, "--out", str(out)]) == 0
    return out


def without_time(results: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in results.items() if key != "seconds"}


def test_results_tell_what_became_of_the_frames(finished: Path) -> None:
    results = results_in(finished)
    assert results["frames"] == {"seen": 7, "waiting": 0, "dropped": 0}
    assert results["total_steps"] == 4 * 5, "three chunks of two, and one frame that was left"
    assert (results["strategy"], results["seed"]) == ("replay", 0)
    assert 99 * 11 + 76 <= results["memory_bytes"] <= 99 * 11 + 7 * 76
    assert len(results["psnr_of_frames"]) == 7
    assert all(math.isfinite(value) and value > 5.0 for value in results["psnr_of_frames"])
    assert results["psnr"] == pytest.approx(np.mean(results["psnr_of_frames"]))
    assert load_checkpoint(finished / "checkpoints/latest.pt").done == 4
    assert json.loads((finished / "config.json").read_text())["command"].startswith("nerfcl online --")


@pytest.mark.parametrize("listed_first", [False, True])
def test_frames_are_taken_as_they_are_completed(finished: Path, tmp_path: Path, listed_first: bool) -> None:
    folder, out = tmp_path / "camera", tmp_path / "out"
    folder.mkdir()

    def work() -> None:
        record(folder, range(7), 0.03, listed_first=listed_first)
        (folder / "done").touch()

    camera = in_background(work)
    assert main(["online", "--watch", str(folder), *QUICK, "--out", str(out)]) == 0
    camera.join(PATIENCE)
    assert without_time(results_in(out)) == without_time(results_in(finished)), "half a frame is never taken"


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_the_next_start_goes_on_from_there(finished: Path, tmp_path: Path, kind: int) -> None:
    folder, out = tmp_path / "camera", tmp_path / "out"
    latest = out / "checkpoints/latest.pt"
    record(folder, range(5), 0.0)
    command = ["online", "--watch", str(folder), *QUICK, "--out", str(out)]
    before = signal.getsignal(kind)

    def stop() -> None:
        wait_until(lambda: latest.exists() and load_checkpoint(latest).done == 2)
        os.kill(os.getpid(), kind)

    thread = in_background(stop)
    assert main(command) == 0
    thread.join(PATIENCE)
    assert signal.getsignal(kind) is before
    results = results_in(out)
    assert results["frames"] == {"seen": 5, "waiting": 1, "dropped": 0}
    assert (results["total_steps"], len(results["psnr_of_frames"])) == (10, 4)
    record(folder, range(5, 7), 0.0)
    (folder / "done").touch()
    assert main(command) == 0
    assert without_time(results_in(out)) == without_time(results_in(finished))
    assert main(command) == 0, "a third start finds nothing to do"
    assert without_time(results_in(out)) == without_time(results_in(finished))


def test_a_signal_before_the_first_chunk_is_no_loss(finished: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "camera", tmp_path / "out"
    record(folder, range(1), 0.0)
    command = ["online", "--watch", str(folder), *QUICK, "--out", str(out)]

    def stop() -> None:
        wait_until((out / "config.json").exists)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)

    previous = signal.signal(signal.SIGTERM, lambda *_: None)  # where it comes too early
    try:
        thread = in_background(stop)
        assert main(command) == 0
        thread.join(PATIENCE)
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert results_in(out)["frames"] == {"seen": 1, "waiting": 1, "dropped": 0}
    assert results_in(out)["psnr"] is None
    record(folder, range(1, 7), 0.0)
    (folder / "done").touch()
    assert main(command) == 0
    assert without_time(results_in(out)) == without_time(results_in(finished))


@pytest.mark.parametrize(
    ("spoil", "needle"),
    [
        (lambda folder: (folder / "images/r_3.png").write_bytes(png_of(3)[:-40]), "r_3.png: cannot be read"),
        (lambda folder: (folder / "images/r_3.png").unlink(), "r_3.png: cannot be read"),
        (lambda folder: (folder / "transforms.json").write_text(list_of(7)[:-9]), "transforms.json: cannot be read"),
    ],
)
def test_what_is_still_broken_after_the_marker_is_an_error(
    spoil: Callable[[Path], Any],
    needle: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(watched, "PATIENCE", 0.3)
    folder = tmp_path / "camera"
    record(folder, range(7), 0.0)
    spoil(folder)
    (folder / "done").touch()
    command = ["online", "--watch", str(folder), *QUICK, "--out", str(tmp_path / "out")]
    assert main(command) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert needle in printed
    assert "says that all is written" in printed
    assert "Traceback" not in printed
    assert not [thread for thread in threading.enumerate() if "nerfcl" in thread.name], "nothing learns on"
    record(folder, range(7), 0.0)  # mended
    assert main(command) == 0
    assert results_in(tmp_path / "out")["frames"]["seen"] == 7


def entry(**changes: Any) -> str:
    made = {"file_path": "images/r_0", "transform_matrix": ring_pose(0.0).tolist(), **changes}
    return json.dumps({"camera_angle_x": TINY_ANGLE, "frames": [made]})


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"frames": []}),
        json.dumps({"camera_angle_x": 0.7}),
        json.dumps({"camera_angle_x": 4.0, "frames": []}),
        json.dumps({"camera_angle_x": "wide", "frames": []}),
        json.dumps([1, 2]),
        entry(file_path=""),
        entry(file_path=None),
        entry(transform_matrix=None),
        entry(transform_matrix=[[1.0, 2.0], [3.0, 4.0]]),
        entry(transform_matrix=[[math.nan] * 4] * 4),
        json.dumps({"camera_angle_x": TINY_ANGLE, "frames": ["r_0"]}),
    ],
)
def test_entries_that_no_waiting_mends_are_refused_at_once(content: str, tmp_path: Path) -> None:
    (tmp_path / "transforms.json").write_text(content)
    with pytest.raises(NerfclError, match=r"transforms\.json"):
        list(WatchedFolder(tmp_path, (16, 16)).frames(0, lambda: False))


def test_frames_are_what_the_files_say(tmp_path: Path) -> None:
    record(tmp_path, range(3), 0.0)
    (tmp_path / "done").touch()
    found = list(WatchedFolder(tmp_path, (16, 16)).frames(1, lambda: False))
    assert [frame.names for frame in found] == [("r_1",), ("r_2",)]
    focal = 8.0 / math.tan(TINY_ANGLE / 2)
    for number, frame in zip((1, 2), found, strict=True):
        rgba = picture_of_ball(ring_pose(40.0 * number)).astype(np.float64) / 255.0
        on_white = rgba[..., :3] * rgba[..., 3:] + 1.0 - rgba[..., 3:]
        assert np.abs(frame.images[0].numpy() - on_white * 255.0).max() <= 0.5 + 1e-3
        torch.testing.assert_close(frame.poses[0], ring_pose(40.0 * number))
        assert frame.intrinsics[0].tolist() == pytest.approx([focal, focal, 8.0, 8.0])
    (small,) = list(WatchedFolder(tmp_path, (8, 12)).frames(2, lambda: False))
    assert small.images.shape == (1, 12, 8, 3)
    assert small.intrinsics[0].tolist() == pytest.approx([focal / 2, focal * 12 / 16, 4.0, 6.0])


def test_nothing_is_waited_for_once_it_is_told_to_stop(tmp_path: Path) -> None:
    asked = iter([False, False, False, True])
    assert list(WatchedFolder(tmp_path, (16, 16), poll=0.0).frames(0, lambda: next(asked))) == []


@pytest.mark.parametrize(
    ("options", "needle"),
    [
        (["--watch", "{none}"], "--watch"),
        (["--watch", "{folder}", "--field", "nerf"], "--field"),
        (["--watch", "{folder}", "--schedule", "step"], "--schedule"),
        (["--watch", "{folder}", "--strategy", "magic"], "magic"),
        (["--watch", "{folder}", "--chunk-frames", "0"], "chunk"),
        (["--watch", "{folder}", "--iters-per-chunk", "0"], "iters-per-chunk"),
        (["--watch", "{folder}", "--device", "abacus"], "--device abacus"),
        (["--watch", "{empty}"], "ended before a frame"),
    ],
)
def test_options_that_cannot_work_are_refused(
    options: list[str], needle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, empty = tmp_path / "camera", tmp_path / "empty"
    record(folder, range(2), 0.0)
    empty.mkdir()
    for place in (folder, empty):
        (place / "done").touch()
    places = {"none": tmp_path / "none", "folder": folder, "empty": empty}
    filled = [option.format(**places) for option in options]
    assert main(["online", *QUICK, *filled, "--out", str(tmp_path / "out")]) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert needle in printed
    assert "Traceback" not in printed
