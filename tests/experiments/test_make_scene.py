"""Making scenes: the cameras, which frame goes where, and that a cut-off run goes on. Rendering needs Mitsuba."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nerfcl.cli.main import main
from nerfcl.errors import NerfclError
from nerfcl.experiments import make_scene as making
from nerfcl.experiments.make_scene import MakeSceneSettings, make_scene, plan_views, split_frames
from nerfcl.scenes import load_scene
from nerfcl.scenes.truck.cameras import CAMERA_DISTANCE, SPIRAL_ELEVATIONS, camera_at, spiral_cameras
from nerfcl.scenes.truck.render import Shot
from nerfcl.streams.frames import make_trajectory
from support.refusals import refused

SHIPPED = Path(str(files("nerfcl.scenes"))) / "data" / "truck"
OF_THE_SHIPPED_SCENE = MakeSceneSettings(trajectory="hemisphere", frames=200, img_wh=(128, 128), samples=256)
SMALL = MakeSceneSettings(frames=50, chunks=5, img_wh=(16, 12))
needs_mitsuba = pytest.mark.skipif(importlib.util.find_spec("mitsuba") is None, reason="the extra `render` is missing")


def fake_render(shot: Shot) -> None:
    """Write an image whose colour tells the seed."""
    shot.path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", shot.size, (shot.seed % 256, shot.seed // 256 % 256, 0, 255)).save(shot.path)


class Rendered(list[Path]):
    """The files that were rendered; the user interrupts before the one with number `stop_at`."""

    stop_at: int | None = None


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> Rendered:
    """Rendering costs nothing in this process, and the files are noted."""
    paths = Rendered()

    def render(shot: Shot) -> None:
        if len(paths) == paths.stop_at:
            raise KeyboardInterrupt
        fake_render(shot)
        paths.append(shot.path)

    monkeypatch.setattr(making, "render_to_file", render)
    monkeypatch.setattr(making, "mitsuba_version", lambda: "0")
    return paths


def frame_numbers(out: Path, split: str) -> list[int]:
    frames = json.loads((out / f"transforms_{split}.json").read_text())["frames"]
    return [int(frame["file_path"].rpartition("_")[2]) for frame in frames]


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def elevations(cameras: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees."""
    return np.degrees(np.arcsin(cameras[:, 2, 3] / CAMERA_DISTANCE))


def test_spiral_cameras_stand_upright_at_one_distance_and_look_at_the_truck() -> None:
    cameras = spiral_cameras(np.arange(500.0), 500)
    rotations, places = cameras[:, :3, :3], cameras[:, :3, 3]
    np.testing.assert_allclose(rotations.transpose(0, 2, 1) @ rotations, np.tile(np.eye(3), (500, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), CAMERA_DISTANCE)
    np.testing.assert_allclose(places - CAMERA_DISTANCE * rotations[:, :, 2], 0.0, atol=1e-12)  # -z ends at the origin
    assert (rotations[:, 2, 1] > 0.0).all(), "a camera stands upside down"


def test_spiral_rises_through_all_elevations_and_sees_all_sides() -> None:
    cameras = spiral_cameras(np.arange(500.0), 500)
    assert elevations(cameras)[[0, -1]] == pytest.approx(SPIRAL_ELEVATIONS)
    assert (np.diff(elevations(cameras)) > 0).all()
    azimuth = np.degrees(np.arctan2(cameras[:, 1, 3], cameras[:, 0, 3]))
    for turn in (slice(0, 200), slice(200, 400)):
        assert np.diff(np.sort(azimuth[turn])).max() < 2.0


def test_neighbouring_frames_are_close_and_neighbouring_tenths_see_other_sides() -> None:
    places = spiral_cameras(np.arange(500.0), 500)[:, :3, 3]
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert 0 < steps.min() <= steps.max() < 0.04 * CAMERA_DISTANCE
    azimuth = np.unwrap(np.arctan2(places[:, 1], places[:, 0])).reshape(10, 50)
    np.testing.assert_allclose(np.diff(azimuth[:, 0]), np.pi / 2, rtol=0.01)


def test_a_place_between_two_frames_gives_a_camera_between_theirs() -> None:
    before, between, after = spiral_cameras(np.array([41.0, 41.5, 42.0]), 100)[:, :3, 3]
    assert np.linalg.norm(between - (before + after) / 2) < 0.1 * np.linalg.norm(after - before)


@pytest.mark.parametrize(("count", "chunks"), [(5, 1), (53, 10), (77, 3), (1000, 7), (260, 1), (5000, 10)])
def test_a_fifth_of_each_chunk_are_test_frames_and_validation_views_are_spread_over_it(count: int, chunks: int) -> None:
    train, val, test = split_frames(count, chunks, seed=3)
    assert sorted([*train, *test]) == list(range(count))
    for chunk in range(chunks):
        low, high = count * chunk // chunks, count * (chunk + 1) // chunks
        counts = [int(((numbers >= low) & (numbers < high)).sum()) for numbers in (train, val, test)]
        length = high - low
        assert counts == [length - round(length / 5), max(1, round(length / 100)), round(length / 5)]
        inside = val[(val >= low) & (val < high)]
        assert (inside + 1 < high).all(), "half-way to a frame of another chunk"
        assert all(abs(gap - length / len(inside)) <= 1 for gap in np.diff(inside))
    assert all((np.diff(numbers) > 0).all() for numbers in (train, val, test))


def test_the_seed_draws_the_test_frames() -> None:
    one, again, other = (split_frames(100, 4, seed=seed)[2].tolist() for seed in (0, 0, 1))
    assert one == again != other


@pytest.mark.parametrize("trajectory", ["spiral", "hemisphere"])
def test_no_two_images_share_their_noise(trajectory: str) -> None:
    plan = plan_views(MakeSceneSettings(trajectory=trajectory, frames=200, seed=2))
    seeds = [view.seed for views in plan.values() for view in views]
    assert len(set(seeds)) == len(seeds)


def test_hemisphere_is_the_shipped_scene() -> None:
    plan = plan_views(OF_THE_SHIPPED_SCENE)
    for split, views in plan.items():
        frames = json.loads((SHIPPED / f"transforms_{split}.json").read_text())["frames"]
        assert [f"./{split}/{view.name}" for view in views] == [frame["file_path"] for frame in frames]
        found = np.array([frame["transform_matrix"] for frame in frames])
        np.testing.assert_allclose(np.stack([view.camera for view in views]), found, atol=1e-12)


def test_the_scene_loads_in_the_order_of_the_trajectory(tmp_path: Path, rendered: Rendered) -> None:
    out = tmp_path / "scene"
    make_scene(SMALL, out, jobs=1)
    scene = load_scene(out)
    assert (len(scene.train), len(scene.val), len(scene.test)) == (40, 5, 10)
    assert (scene.train.width, scene.train.height) == (16, 12)
    assert frame_numbers(out, "train") == sorted(set(range(50)) - set(frame_numbers(out, "test")))
    assert scene.train.names[0] == f"train/r_{frame_numbers(out, 'train')[0]:05}"
    cameras = spiral_cameras(np.array(frame_numbers(out, "test"), dtype=np.float64), 50)
    np.testing.assert_allclose(scene.test.poses.numpy(), cameras, atol=1e-6)
    stream = make_trajectory(scene, "file", chunk_frames=8)
    assert [len(chunk.val) for chunk in stream] == [1] * 5
    assert len(rendered) == 55


def test_a_stopped_scene_goes_on_and_is_none_before_its_end(tmp_path: Path, rendered: Rendered) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    make_scene(SMALL, whole, jobs=1)
    rendered.clear()
    rendered.stop_at = 20
    with pytest.raises(KeyboardInterrupt):
        make_scene(SMALL, cut, jobs=1)
    with pytest.raises(NerfclError, match=r"transforms_train\.json"):
        load_scene(cut)
    rendered.stop_at = None
    make_scene(SMALL, cut, jobs=1)
    assert len(rendered) == len(set(rendered)) == 55, "nothing is rendered twice"
    assert contents(cut) == contents(whole)
    rendered.clear()
    make_scene(SMALL, cut, jobs=4)  # there is nothing left to do, by however many
    assert not rendered


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"frames": 60}, {"chunks": 2}, {"samples": 9}, {"img_wh": (12, 16)}], ids=str
)
def test_a_folder_of_other_settings_is_left_alone(tmp_path: Path, rendered: Rendered, changes: dict[str, Any]) -> None:
    out = tmp_path / "scene"
    make_scene(SMALL, out, jobs=1)
    before = contents(out)
    message = rf"out='{re.escape(str(out))}': holds another run \(it differs in {next(iter(changes))}\)"
    with pytest.raises(NerfclError, match=message):
        make_scene(dataclasses.replace(SMALL, **changes), out, jobs=1)
    assert contents(out) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, rendered: Rendered) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(NerfclError, match="choose another"):
        make_scene(SMALL, tmp_path, jobs=1)
    assert contents(tmp_path) == {"letter.txt": b"dear"}
    assert not rendered


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trajectory", "circle"], "--trajectory circle: must be spiral or hemisphere"),
        (["--frames", "49"], "--frames 49: must be at least 50, 5 for each chunk"),
        (["--trajectory", "hemisphere", "--frames", "4"], "--frames 4: must be at least 5"),
        (["--chunks", "0"], "--chunks 0: must be at least 1"),
        (["--samples", "0"], "--samples 0: must lie between 1 and 65536"),
        (["--seed", "-1"], "--seed -1: must lie between 0 and 2147483647"),
        (["--jobs", "-1"], "--jobs -1: must not be negative"),
        (["--img-wh", "64", "4"], "--img-wh 64 4: images must be"),
        (["--img-wh", "64", "100000"], "--img-wh 64 100000: images must be"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(
    tmp_path: Path, rendered: Rendered, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    out = tmp_path / "scene"
    assert message in refused(main, ["make-scene", "--out", str(out), *arguments], capsys, out=out)
    assert not rendered


def test_without_mitsuba_it_says_what_to_install_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mitsuba", None)  # importing it fails
    out = tmp_path / "scene"
    assert "pip install 'nerfcl[render]'" in refused(main, ["make-scene", "--out", str(out)], capsys, out=out)


def test_options_reach_the_scene(tmp_path: Path, rendered: Rendered) -> None:
    arguments = ["--trajectory", "hemisphere", "--frames", "8", "--img-wh", "12", "13", "--samples", "3", "--seed", "5"]
    assert main(["make-scene", "--out", str(tmp_path / "one"), *arguments, "--chunks", "2", "--jobs", "1"]) == 0
    settings = MakeSceneSettings(trajectory="hemisphere", frames=8, img_wh=(12, 13), samples=3, seed=5, chunks=2)
    make_scene(settings, tmp_path / "other", jobs=1)
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_a_pool_writes_what_one_process_writes(
    tmp_path: Path, rendered: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_scene(SMALL, tmp_path / "one", jobs=1)
    monkeypatch.setattr(making, "render_to_file", fake_render)
    monkeypatch.setattr(making, "_start_worker", None)
    make_scene(SMALL, tmp_path / "two", jobs=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_killed_worker_ends_the_run_with_advice(
    tmp_path: Path, rendered: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "render_to_file", fake_render)
    monkeypatch.setattr(making, "_start_worker", functools.partial(os._exit, 9))
    with pytest.raises(NerfclError, match="fewer jobs"):
        make_scene(SMALL, tmp_path / "scene", jobs=2)


def test_help_loads_neither_torch_nor_mitsuba() -> None:
    code = (
        "import sys\nfrom nerfcl.cli.main import main\n"
        "try:\n    main(['make-scene', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'mitsuba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


@needs_mitsuba
def test_mitsuba_renders_the_shipped_image_again() -> None:
    from nerfcl.scenes.truck.render import render_view

    view = plan_views(OF_THE_SHIPPED_SCENE)["val"][49]
    pixels = render_view(view.camera, 128, 128, samples=256, seed=view.seed)
    found = np.asarray(Image.open(SHIPPED / f"val/{view.name}.png"))
    # Another version of Mitsuba may draw other rays: the picture is the same, but for noise.
    np.testing.assert_allclose(pixels.mean((0, 1)), found.mean((0, 1)), atol=0.5)
    assert np.abs(pixels.astype(int) - found).mean() < 3.0


@needs_mitsuba
def test_a_wide_picture_shows_more_at_its_sides_and_the_truck_in_its_middle() -> None:
    from nerfcl.scenes.truck.render import render_view

    camera = camera_at(np.array([CAMERA_DISTANCE, 0.0, 1.0]))
    alpha = render_view(camera, 48, 24, samples=16)[..., 3]
    assert alpha[10:14, 20:28].min() == 255
    assert alpha[:, 0].max() == 0


@needs_mitsuba
def test_two_processes_render_a_scene(tmp_path: Path) -> None:
    out = tmp_path / "scene"
    arguments = ["--frames", "5", "--chunks", "1", "--img-wh", "12", "12", "--samples", "1", "--jobs", "2"]
    assert main(["make-scene", "--out", str(out), *arguments]) == 0
    scene = load_scene(out)
    assert (len(scene.train), len(scene.val), len(scene.test)) == (4, 1, 1)
    assert len({image.tobytes() for image in scene.train.images.numpy()}) == 4
