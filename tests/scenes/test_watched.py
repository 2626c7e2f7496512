"""A folder that is being written to: frames as they are completed, and what is broken."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nerfcl.errors import NerfclError
from nerfcl.scenes import watched
from nerfcl.scenes.format import LoadRequest
from nerfcl.scenes.watched import WatchedFolder
from scenes.recording import list_of, png_of, record
from support.scenes import TINY_ANGLE, picture_of_ball, ring_pose
from support.waiting import PATIENCE, in_background


def names_of(folder: Path, first: int = 0) -> list[str]:
    return [
        frame.names[0]
        for frame in WatchedFolder(folder, LoadRequest((16, 16)), poll=0.001).frames(first, lambda: False)
    ]


def test_frames_are_what_the_files_say(tmp_path: Path) -> None:
    record(tmp_path, range(3))
    (tmp_path / "done").touch()
    found = list(WatchedFolder(tmp_path, LoadRequest((16, 16))).frames(1, lambda: False))
    assert [frame.names for frame in found] == [("r_1",), ("r_2",)]
    focal = 8.0 / math.tan(TINY_ANGLE / 2)
    for number, frame in zip((1, 2), found, strict=True):
        rgba = picture_of_ball(ring_pose(40.0 * number)).astype(np.float64) / 255.0
        on_white = rgba[..., :3] * rgba[..., 3:] + 1.0 - rgba[..., 3:]
        assert np.abs(frame.images[0].numpy() - on_white * 255.0).max() <= 0.5 + 1e-3
        torch.testing.assert_close(frame.poses[0], ring_pose(40.0 * number))
        assert frame.intrinsics[0].tolist() == pytest.approx([focal, focal, 8.0, 8.0])
    (small,) = list(WatchedFolder(tmp_path, LoadRequest((12, 20))).frames(2, lambda: False))
    assert small.images.shape == (1, 20, 12, 3)
    assert small.intrinsics[0].tolist() == pytest.approx([focal * 12 / 16, focal * 20 / 16, 6.0, 10.0])


@pytest.mark.parametrize("listed_first", [False, True])
def test_half_a_frame_is_waited_for(listed_first: bool, tmp_path: Path) -> None:
    def write() -> None:
        record(tmp_path, range(5), pause=0.02, listed_first=listed_first)
        (tmp_path / "done").touch()

    camera = in_background(write)
    taken = list(WatchedFolder(tmp_path, LoadRequest((16, 16)), poll=0.001).frames(0, lambda: False))
    camera.join(PATIENCE)
    whole = list(WatchedFolder(tmp_path, LoadRequest((16, 16))).frames(0, lambda: False))
    assert [frame.names for frame in taken] == [(f"r_{i}",) for i in range(5)]
    for one, other in zip(taken, whole, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.poses, other.poses)


def test_nothing_is_waited_for_once_it_is_told_to_stop(tmp_path: Path) -> None:
    asked = iter([False, False, False, True])
    assert list(WatchedFolder(tmp_path, LoadRequest((16, 16)), poll=0.0).frames(0, lambda: next(asked))) == []


def test_a_folder_that_is_done_before_a_frame_has_none(tmp_path: Path) -> None:
    (tmp_path / "done").touch()
    assert names_of(tmp_path) == []
    record(tmp_path, range(2))
    assert names_of(tmp_path, first=2) == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "images/r_3.png").write_bytes(png_of(3)[:-40]), "r_3.png: is damaged or truncated"),
        (lambda folder: (folder / "images/r_3.png").unlink(), "r_3.png: no such image"),
        (lambda folder: (folder / "transforms.json").write_text(list_of(7)[:-9]), "transforms.json: is not valid JSON"),
    ],
)
def test_what_is_still_broken_after_the_marker_is_an_error(
    spoil: Callable[[Path], Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "PATIENCE", 0.1)
    record(tmp_path, range(7))
    spoil(tmp_path)
    (tmp_path / "done").touch()
    with pytest.raises(NerfclError) as caught:
        names_of(tmp_path)
    assert words in str(caught.value)
    assert f"the marker {tmp_path / 'done'} says that all frames are written" in str(caught.value)


def entry(**changes: Any) -> str:
    made = {"file_path": "images/r_0", "transform_matrix": ring_pose(0.0).tolist(), **changes}
    return json.dumps({"camera_angle_x": TINY_ANGLE, "frames": [made]})


@pytest.mark.parametrize(
    "content",
    [
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
        names_of(tmp_path)


# --- names, and what is waited for ---


@pytest.mark.parametrize("name", ["cam.0001", "1700000000.25", "view.1.2", "r_0.PNG", ".hidden"])
def test_names_with_dots_are_found_and_png_by_default(name: str, tmp_path: Path) -> None:
    (tmp_path / "transforms.json").write_text(entry(file_path=name))
    file = tmp_path / (name if name.endswith(".PNG") else f"{name}.png")
    file.write_bytes(png_of(0))
    (tmp_path / "done").touch()
    assert len(names_of(tmp_path)) == 1


def test_what_is_waited_for_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "_SILENCE", 0.05)
    (tmp_path / "transforms.json").write_text(entry(file_path="nowhere"))
    said: list[str] = []
    asked = iter(range(200))
    source = WatchedFolder(tmp_path, LoadRequest((16, 16)), poll=0.001, say=said.append)
    assert list(source.frames(0, lambda: next(asked) > 150)) == []
    assert len(said) == 1
    assert said[0].startswith(f"waiting for frame 0: {tmp_path / 'nowhere.png'}: no such image")
    record(tmp_path, range(2))
    (tmp_path / "transforms.json").write_text(list_of(2))
    asked = iter(range(200))
    source = WatchedFolder(tmp_path, LoadRequest((16, 16)), poll=0.001, say=said.append)
    assert len(list(source.frames(0, lambda: next(asked) > 150))) == 2
    assert said[1:] == [
        f"waiting for frame 2: it is not in {tmp_path / 'transforms.json'} yet, nor is there a file {tmp_path / 'done'}"
    ]


# --- the same checks as of a scene ---


def test_more_than_eight_bits_are_refused_as_in_a_scene(tmp_path: Path) -> None:
    (tmp_path / "transforms.json").write_text(entry())
    (tmp_path / "images").mkdir()
    gray = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(gray).save(tmp_path / "images/r_0.png")
    with pytest.raises(NerfclError, match=r"r_0\.png: has more than 8 bits per channel"):
        names_of(tmp_path)


def test_a_pipe_is_not_waited_for_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "PATIENCE", 0.05)
    (tmp_path / "transforms.json").write_text(entry())
    (tmp_path / "images").mkdir()
    os.mkfifo(tmp_path / "images/r_0.png")
    (tmp_path / "done").touch()
    with pytest.raises(NerfclError, match=r"r_0\.png: is not a file"):
        names_of(tmp_path)


@pytest.mark.parametrize("content", ["[" * 10**5, '{"frames": [' * 10**4])
def test_a_deeply_nested_list_is_an_error_after_the_marker(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "PATIENCE", 0.05)
    (tmp_path / "transforms.json").write_text(content)
    (tmp_path / "done").touch()
    with pytest.raises(NerfclError, match=r"transforms\.json: is n"):
        names_of(tmp_path)
