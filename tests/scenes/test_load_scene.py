"""Loading: which format loads what, the shipped scene, and what is refused before any file is read."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from nerfcl.progress import untracked
from nerfcl.scenes import FORMATS, Scene, load_scene
from nerfcl.scenes.format import LoadRequest
from nerfcl.streams.tasks import on_side
from scenes.loading import refusal
from support.scenes import numbered_views, scene_of

SPLITS = ("train", "val", "test")


# --- formats ---


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is asked of a further format, of folders with a file "toy", that is registered by one line."""
    asked: list[Any] = []

    def load(root: Path, request: LoadRequest) -> Scene:
        asked.append((root, request))
        return scene_of(numbered_views(2))

    module = ModuleType("toy_format")
    vars(module).update(HAS_SPHERIC_POSES=True, recognises=lambda root: (root / "toy").exists(), load=load)
    monkeypatch.setitem(sys.modules, "toy_format", module)
    monkeypatch.setitem(FORMATS, "toy", "toy_format")
    return asked


def test_a_further_format_is_registered_by_one_line(toy: list[Any], tmp_path: Path) -> None:
    (tmp_path / "toy").touch()
    scene = load_scene(tmp_path, (16, 12), untracked, spheric_poses=True, pixel_center=0.0)
    assert toy == [(tmp_path, LoadRequest((16, 12), spheric_poses=True, track=untracked))]
    assert scene.name == "toy"
    shift = torch.tensor([0.0, 0.0, 0.5, 0.5])
    assert torch.equal(scene.test.intrinsics, numbered_views(2).intrinsics + shift), "the pixel's centre is for all"


def test_a_further_format_leaves_other_scenes_alone(toy: list[Any], shared_scene: Path, tmp_path: Path) -> None:
    assert load_scene(shared_scene).name == "tiny"
    assert "spheric_poses" in refusal("builtin", spheric_poses=True)
    assert "transforms_train.json" in refusal(tmp_path), "which no format recognises"
    assert not toy


def test_spheric_poses_are_for_formats_that_have_them(shared_scene: Path) -> None:
    for data in (shared_scene, "builtin"):
        message = refusal(data, spheric_poses=True)
        assert "spheric_poses: does not apply to the format of data=" in message
        assert str(data) in message


# --- refusals ---


@pytest.mark.parametrize("data", ["nowhere", "file", "", "a\0b", "~nobody/scene", "x" * 10_000])
def test_a_folder_that_is_not_there_is_refused(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    message = refusal(data)
    assert f"data={data!r}: no such folder" in message
    assert "builtin" in message


@pytest.mark.parametrize("size", [(10, 64), (64, 10), (0, 0), (-5, 20)])
def test_images_too_small_for_ssim_are_refused(size: tuple[int, int], shared_scene: Path) -> None:
    for data in (shared_scene, "builtin"):
        assert f"size={size}: images must be at least 11" in refusal(data, size)
    assert load_scene(shared_scene, (11, 11)).train.width == 11


# --- the shipped scene ---


@pytest.fixture(scope="module")
def builtin() -> Scene:
    return load_scene("builtin")


def test_the_shipped_scene_has_enough_different_views_of_each_side(builtin: Scene) -> None:
    for split, count in zip(SPLITS, (100, 50, 100), strict=True):
        views = getattr(builtin, split)
        assert views.images.shape == (count, 128, 128, 3)
        assert count // 4 <= len(on_side(views, "right")) <= count - count // 4
        assert len(set(views.names)) == count
        assert len({image.numpy().tobytes() for image in views.images}) == count


def test_the_shipped_cameras_are_rotations_above_the_ground_around_the_box(builtin: Scene) -> None:
    for split in SPLITS:
        poses = getattr(builtin, split).poses.double()
        rotations = poses[:, :3, :3]
        products = rotations.transpose(1, 2) @ rotations
        torch.testing.assert_close(products, torch.eye(3).double().expand_as(products), atol=1e-5, rtol=0.0)
        assert (torch.linalg.det(rotations) > 0.99).all()
        assert (poses[:, 2, 3] > 0.0).all()
    lower, side = torch.tensor(builtin.box.lower), builtin.box.side
    assert 1.0 < side < 20.0
    assert (lower < 0.0).all()
    assert (lower + side > 0.0).all()


def test_the_shipped_truck_stands_in_the_middle_of_a_white_background(builtin: Scene) -> None:
    middle, corners = builtin.train.images[:, 54:74, 54:74].float(), builtin.train.images[:, :8, :8].float()
    assert middle.mean() < 220.0
    assert corners.mean() > middle.mean()


def test_the_shipped_scene_is_resized() -> None:
    scene = load_scene("builtin", (16, 12))
    assert (scene.train.width, scene.train.height) == (16, 12)
    assert scene.train.intrinsics[0, 0] / scene.train.intrinsics[0, 1] == pytest.approx(16 / 12)
