"""Making scenes: the cameras, which frame goes where, and that a cut-off run goes on. Rendering needs Mitsuba."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nerfcl.cli.main import main
from nerfcl.cli.options import MakeScene
from nerfcl.errors import NerfclError
from nerfcl.experiments import make_scene as making
from nerfcl.experiments.make_scene import check_options, make_scene, plan_views, split_frames
from nerfcl.scenes import load_scene
from nerfcl.scenes.truck.cameras import CAMERA_DISTANCE, SPIRAL_ELEVATIONS, camera_at, spiral_cameras
from nerfcl.scenes.truck.render import Shot
from nerfcl.streams.frames import make_trajectory

SHIPPED = Path(str(files("nerfcl.scenes"))) / "data" / "truck"
SHIPPED_OPTIONS = MakeScene(out=Path("unused"), trajectory="hemisphere", frames=200, img_wh=(128, 128), samples=256)
needs_mitsuba = pytest.mark.skipif(importlib.util.find_spec("mitsuba") is None, reason="the extra `render` is missing")


def fake_render(shot: Shot) -> None:
    """Writes an image whose colour tells the seed."""
    shot.path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", shot.size, (shot.seed % 256, shot.seed // 256 % 256, 0, 255)).save(shot.path)


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Rendering costs nothing in this process, and the files are noted."""
    paths: list[Path] = []

    def render(shot: Shot) -> None:
        fake_render(shot)
        paths.append(shot.path)

    monkeypatch.setattr(making, "render_to_file", render)
    monkeypatch.setattr(making, "mitsuba_version", lambda: "0")
    return paths


def options(out: Path, **changes: object) -> MakeScene:
    values: dict[str, object] = {"out": out, "frames": 50, "chunks": 5, "img_wh": (16, 12), "jobs": 1, **changes}
    return MakeScene(**values)  # pyright: ignore[reportArgumentType]


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
    turns, places = cameras[:, :3, :3], cameras[:, :3, 3]
    np.testing.assert_allclose(turns.transpose(0, 2, 1) @ turns, np.broadcast_to(np.eye(3), turns.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1.0)
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), CAMERA_DISTANCE)
    np.testing.assert_allclose(places - CAMERA_DISTANCE * turns[:, :, 2], 0.0, atol=1e-12)  # -z ends at the origin
    assert (turns[:, 2, 1] > 0.0).all(), "a camera stands upside down"


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


def test_splits_of_the_large_stream() -> None:
    train, val, test = split_frames(5000, 10, seed=0)
    assert sorted([*train, *test]) == list(range(5000))
    assert np.bincount(train // 500).tolist() == [400] * 10
    assert np.bincount(test // 500).tolist() == [100] * 10
    assert np.bincount(val // 500).tolist() == [5] * 10
    assert all((np.diff(numbers) > 0).all() for numbers in (train, val, test))
    assert set(np.diff(val)) <= {99, 100, 101}


@pytest.mark.parametrize(("count", "chunks"), [(5, 1), (53, 10), (77, 3), (1000, 7), (260, 1)])
def test_splits_of_any_size(count: int, chunks: int) -> None:
    train, val, test = split_frames(count, chunks, seed=3)
    assert sorted([*train, *test]) == list(range(count))
    for chunk in range(chunks):
        low, high = count * chunk // chunks, count * (chunk + 1) // chunks
        inside = [int(((numbers >= low) & (numbers < high)).sum()) for numbers in (train, val, test)]
        length = high - low
        assert inside == [length - round(length / 5), max(1, round(length / 100)), round(length / 5)]
        assert all(v + 1 < high for v in val if v >= low and v < high), "half-way to a frame of another chunk"


def test_the_seed_draws_the_test_frames() -> None:
    again, other = split_frames(100, 4, seed=0), split_frames(100, 4, seed=1)
    assert [a.tolist() for a in split_frames(100, 4, seed=0)] == [a.tolist() for a in again]
    assert split_frames(100, 4, seed=0)[2].tolist() != other[2].tolist()


@pytest.mark.parametrize("trajectory", ["spiral", "hemisphere"])
def test_no_two_images_share_their_noise(trajectory: str, tmp_path: Path) -> None:
    plan = plan_views(options(tmp_path, trajectory=trajectory, frames=200, seed=2))
    seeds = [view.seed for views in plan.values() for view in views]
    assert len(set(seeds)) == len(seeds)


def test_hemisphere_is_the_shipped_scene() -> None:
    plan = plan_views(SHIPPED_OPTIONS)
    for split, views in plan.items():
        frames = json.loads((SHIPPED / f"transforms_{split}.json").read_text())["frames"]
        assert [f"./{split}/{view.name}" for view in views] == [frame["file_path"] for frame in frames]
        found = np.array([frame["transform_matrix"] for frame in frames])
        np.testing.assert_allclose(np.stack([view.camera for view in views]), found, atol=1e-12)


def test_the_scene_loads_in_the_order_of_the_trajectory(tmp_path: Path, rendered: list[Path]) -> None:
    out = tmp_path / "scene"
    make_scene(options(out))
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


def test_a_stopped_scene_goes_on_and_is_none_before_its_end(
    tmp_path: Path, rendered: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    make_scene(options(whole))
    rendered.clear()
    noting = making.render_to_file

    def interrupted(shot: Shot) -> None:
        if len(rendered) == 20:
            raise KeyboardInterrupt
        noting(shot)

    monkeypatch.setattr(making, "render_to_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_scene(options(cut))
    with pytest.raises(NerfclError, match=r"transforms_train\.json"):
        load_scene(cut)
    before = set(rendered)
    rendered.clear()
    monkeypatch.setattr(making, "render_to_file", noting)
    make_scene(options(cut))
    assert (len(before), len(rendered)) == (20, 35)
    assert not before & set(rendered)
    assert contents(cut) == contents(whole)
    rendered.clear()
    make_scene(options(cut, jobs=4))  # there is nothing left to do, by however many
    assert not rendered


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"frames": 60}, {"chunks": 2}, {"samples": 9}, {"img_wh": (12, 16)}], ids=str
)
def test_a_folder_of_other_settings_is_left_alone(
    tmp_path: Path, rendered: list[Path], changes: dict[str, object]
) -> None:
    out = tmp_path / "scene"
    make_scene(options(out))
    before = contents(out)
    with pytest.raises(NerfclError, match=next(iter(changes))):
        make_scene(options(out, **changes))
    assert contents(out) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, rendered: list[Path]) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(NerfclError, match="choose another --out"):
        make_scene(options(tmp_path))
    assert contents(tmp_path) == {"letter.txt": b"dear"}
    assert not rendered


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trajectory", "circle"], "--trajectory circle: must be spiral or hemisphere"),
        (["--frames", "49"], "--frames 49: must be at least 50, 5 a chunk"),
        (["--trajectory", "hemisphere", "--frames", "4"], "--frames 4: must be at least 5"),
        (["--chunks", "0"], "--chunks 0: must be at least 1"),
        (["--samples", "0"], "--samples 0: must be from 1"),
        (["--seed", "-1"], "--seed -1: must be from 0"),
        (["--jobs", "-1"], "--jobs -1: must be at least 0"),
        (["--img-wh", "64", "4"], "--img-wh 64 4: images must be"),
        (["--img-wh", "64", "100000"], "--img-wh 64 100000: images must be"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(
    tmp_path: Path, rendered: list[Path], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    out = tmp_path / "scene"
    assert main(["make-scene", "--out", str(out), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
    assert not rendered


def test_without_mitsuba_it_says_what_to_install_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mitsuba", None)  # importing it fails
    assert main(["make-scene", "--out", str(tmp_path / "scene")]) == 2
    assert "pip install 'nerfcl[render]'" in capsys.readouterr().err
    assert not (tmp_path / "scene").exists()


def test_a_pool_writes_what_one_process_writes(
    tmp_path: Path, rendered: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_scene(options(tmp_path / "one"))
    monkeypatch.setattr(making, "render_to_file", fake_render)
    monkeypatch.setattr(making, "start_worker", None)
    make_scene(options(tmp_path / "two", jobs=2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_killed_worker_ends_the_run_with_advice(
    tmp_path: Path, rendered: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "render_to_file", fake_render)
    monkeypatch.setattr(making, "start_worker", functools.partial(os._exit, 9))
    with pytest.raises(NerfclError, match="fewer --jobs"):
        make_scene(options(tmp_path / "scene", jobs=2))


def test_help_loads_neither_torch_nor_mitsuba() -> None:
    code = (
        "import sys\nfrom nerfcl.cli.main import main\n"
        "try:\n    main(['make-scene', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'mitsuba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_options_of_the_shipped_scene_are_accepted() -> None:
    check_options(SHIPPED_OPTIONS)


@needs_mitsuba
def test_mitsuba_renders_the_shipped_image_again() -> None:
    from nerfcl.scenes.truck.render import render_view

    view = plan_views(SHIPPED_OPTIONS)["val"][49]
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
