"""A transforms.json for each split: what is read of it, and how damage is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nerfcl.scenes import load_scene
from nerfcl.scenes.scene import Views
from nerfcl.streams.tasks import on_side
from scenes.loading import refusal
from support.scenes import TINY_AZIMUTHS, picture_of_ball, ring_pose

Change = Callable[[dict[str, Any]], Any]


def edit(folder: Path, change: Change, split: str = "train") -> Path:
    """Change a split's json in place; its path."""
    path = folder / f"transforms_{split}.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))
    return path


# --- what is read ---


def test_views_of_a_scene_with_their_poses_and_images_on_white(shared_scene: Path) -> None:
    scene = load_scene(shared_scene)
    assert scene.name == "tiny"
    assert scene.background == (1.0, 1.0, 1.0)
    for split, azimuths in TINY_AZIMUTHS.items():
        views: Views = getattr(scene, split)
        poses = torch.stack([ring_pose(azimuth) for azimuth in azimuths])
        torch.testing.assert_close(views.poses, poses)
        assert views.names == tuple(f"{split}/r_{i}" for i in range(len(azimuths)))
        rgba = np.stack([picture_of_ball(pose) for pose in poses])
        assert np.array_equal(views.images.numpy(), np.where(rgba[..., 3:] > 0, rgba[..., :3], 255))


def test_file_extensions_are_optional_and_png_by_default(tiny_scene_folder: Path) -> None:
    plain = load_scene(tiny_scene_folder)
    # A dot in a name is no extension.
    (tiny_scene_folder / "train/r_2.png").rename(tiny_scene_folder / "train/view.2.png")
    for index, name in enumerate(("train/r_0.png", "./train/r_1", "./train/view.2")):
        edit(tiny_scene_folder, lambda d, i=index, name=name: d["frames"][i].update(file_path=name))
    again = load_scene(tiny_scene_folder)
    assert torch.equal(plain.train.images, again.train.images)
    assert again.train.names[:3] == ("train/r_0", "train/r_1", "train/view.2")


def test_intrinsics_by_hand(tiny_scene_folder: Path) -> None:
    # Half the width at distance 1 is 0.5: the focal length is the width.
    edit(tiny_scene_folder, lambda d: d.update(camera_angle_x=2 * math.atan(0.5)), "test")
    plain = load_scene(tiny_scene_folder).test.intrinsics
    torch.testing.assert_close(plain, torch.tensor([[16.0, 16.0, 8.0, 8.0]]).expand(4, 4))
    # Stretched to 32 x 12 the same rays go through x * 2 and y * 0.75.
    stretched = load_scene(tiny_scene_folder, (32, 12)).test
    torch.testing.assert_close(stretched.intrinsics, torch.tensor([[32.0, 12.0, 16.0, 6.0]]).expand(4, 4))
    assert stretched.images.shape == (4, 12, 32, 3)


def test_box_is_what_the_train_views_see(shared_scene: Path) -> None:
    # All cameras look at the origin from distance 4 with half angle 0.35.
    box = load_scene(shared_scene).box
    assert box.side == pytest.approx(8.0 * math.tan(0.35), abs=1e-4)
    assert box.lower == pytest.approx((-4.0 * math.tan(0.35),) * 3, abs=1e-4)


def test_lego_has_its_known_numbers_of_views(lego: Path) -> None:
    scene = load_scene(lego, (16, 16))
    assert scene.name == "lego"
    views = [scene.train, scene.val, scene.test]
    assert [(len(on_side(v, "right")), len(on_side(v, "left"))) for v in views] == [(42, 58), (53, 47), (100, 100)]
    assert int((scene.test.poses[:, 0, 3] == 0.0).sum()) == 1


# --- damage ---


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_or_unreadable_description_is_refused(tiny_scene_folder: Path, split: str) -> None:
    path = tiny_scene_folder / f"transforms_{split}.json"
    path.unlink()
    assert f"{path}: no such file" in refusal(tiny_scene_folder)
    path.mkdir()
    assert f"{path}: is not a file" in refusal(tiny_scene_folder)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"frames: []", "not valid JSON"),
        (b"\xff\xfe\x00not utf-8", "not valid JSON"),
        (b'{"frames": [}\n{\n', "not valid JSON"),
        pytest.param(b"[" * 100_000, "nested too deeply", id="too deep"),
        (b"[]", "object, found a list"),
        (b"3", "object, found a int"),
        (b"null", "object, found a NoneType"),
        (b'"text"', "object, found a str"),
    ],
)
def test_a_description_that_is_not_a_json_object_is_refused(tiny_scene_folder: Path, content: bytes, why: str) -> None:
    path = tiny_scene_folder / "transforms_val.json"
    path.write_bytes(content)
    message = refusal(tiny_scene_folder)
    assert str(path) in message
    assert why in message


def frame(index: int, **values: Any) -> Change:
    return lambda description: description["frames"][index].update(values)


def number(row: int, column: int, value: Any) -> Change:
    """Set one number of frame 3's matrix."""
    return lambda description: description["frames"][3]["transform_matrix"][row].__setitem__(column, value)


def rotation(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Change the upper left 3x3 part of frame 3's matrix."""

    def apply(description: dict[str, Any]) -> None:
        matrix = np.array(description["frames"][3]["transform_matrix"])
        matrix[:3, :3] = change(matrix[:3, :3])
        description["frames"][3]["transform_matrix"] = matrix.tolist()

    return apply


EYE = np.eye(4).tolist()
DAMAGED: list[tuple[Change, tuple[str, ...]]] = [
    *((lambda d, v=v: d.update(frames=v), ("'frames'",)) for v in ([], {}, "text", None, 3)),
    (lambda d: d.pop("frames"), ("'frames'",)),
    *(
        (lambda d, v=v: d.update(camera_angle_x=v), ("'camera_angle_x'",))
        for v in (0.0, -0.5, math.pi, 4.0, math.nan, math.inf, "0.7", None, [0.7])
    ),
    (lambda d: d.pop("camera_angle_x"), ("'camera_angle_x'",)),
    *((lambda d, v=v: d["frames"].__setitem__(2, v), ("frame 2", "transform_matrix")) for v in (None, 3, "a", [], {})),
    *(
        (frame(1, transform_matrix=matrix), ("frame 1", "no 4x4 'transform_matrix'"))
        for matrix in (None, "text", [], np.eye(3).tolist(), [EYE[0], EYE[1][:3], *EYE[2:]], [[[1.0]] * 4] * 4)
    ),
    (frame(1, transform_matrix=list(range(16))), ("frame 1", "no 4x4 'transform_matrix'")),
    *((number(0, 3, value), ("frame 3", "no 4x4 'transform_matrix'")) for value in ("x", {})),
    (number(0, 3, 10**400), ("frame 3", "has NaN or infinity in 'transform_matrix'")),
    *(
        (number(row, column, value), ("frame 3", "NaN or infinity"))
        for value in (math.nan, math.inf, -math.inf, 1e60)
        for row, column in ((0, 0), (1, 3), (3, 3))
    ),
    *(
        (rotation(change), ("frame 3", "not a rotation"))
        for change in (
            lambda r: 0 * r,
            lambda r: r[:, :1] * [1, 1, 1],
            lambda r: r * [2, 1, 1],
            lambda r: r * [1, 1, -1],
        )
    ),
    *(
        (frame(4, file_path=name), ("frame 4", "'file_path'"))
        for name in (None, 3, ["r_0"], "", "/", ".", "a\0b", "\ud800")
    ),
    (lambda d: d["frames"][4].pop("file_path"), ("frame 4", "'file_path'")),
    *((number(1, 3, far), ("frame 3", "farther than 1,000,000 units")) for far in (2e6, -1e30)),
    *((lambda d, a=a: d.update(camera_angle_x=a), ("'camera_angle_x'",)) for a in (1e-300, 1e-5, math.pi - 1e-5)),
]


@pytest.mark.parametrize(("change", "needles"), DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_description_is_refused_by_file_and_frame(
    tiny_scene_folder: Path, change: Change, needles: tuple[str, ...]
) -> None:
    path = edit(tiny_scene_folder, change)
    message = refusal(tiny_scene_folder)
    for needle in (str(path), *needles):
        assert needle in message


@pytest.mark.parametrize("index", [0, 3])
def test_a_missing_damaged_or_different_image_is_refused(tiny_scene_folder: Path, index: int) -> None:
    file = tiny_scene_folder / f"val/r_{index}.png"
    file.write_bytes(file.read_bytes()[:60])
    assert str(file) in refusal(tiny_scene_folder)
    file.unlink()
    assert f"{file}: no such image" in refusal(tiny_scene_folder)
    edit(tiny_scene_folder, frame(index, file_path="val"), "val")  # a folder
    assert str(tiny_scene_folder / "val.png") in refusal(tiny_scene_folder)


def test_images_of_several_sizes_or_too_small_ones_are_refused(tiny_scene_folder: Path) -> None:
    files = sorted(tiny_scene_folder.glob("train/*.png"))
    Image.new("RGBA", (16, 17)).save(files[4])
    assert f"{files[4]}: is 16x17, but the first image is 16x16" in refusal(tiny_scene_folder)
    for file in files:
        Image.new("RGBA", (16, 10)).save(file)
    # SSIM cannot be computed on them, which would show after the training only.
    assert f"{files[0]}: is 16x10 pixels; images must be at least 11" in refusal(tiny_scene_folder)


def test_all_missing_images_are_named_at_once(tiny_scene_folder: Path) -> None:
    files = [tiny_scene_folder / f"train/r_{i}.png" for i in range(1, 6)]
    for file in files:
        file.unlink()
    message = refusal(tiny_scene_folder)
    assert message.startswith(", ".join(map(str, files[:3])) + " and 2 more: 5 of 6 images are missing; restore them")


@pytest.mark.parametrize(("split", "there"), [("test", "transforms_train.json"), ("train", "transforms.json")])
def test_a_missing_split_says_what_to_do(split: str, there: str, tiny_scene_folder: Path) -> None:
    path = tiny_scene_folder / f"transforms_{split}.json"
    path.rename(tiny_scene_folder / "transforms.json") if split == "train" else path.unlink()
    message = refusal(tiny_scene_folder)
    assert str(path) in message or split == "train"
    assert there in message
    assert "poses_bounds" not in message


# --- names ---


def test_views_of_a_rig_keep_their_folders_in_their_names(tiny_scene_folder: Path) -> None:
    for camera, index in (("cam0", 0), ("cam1", 1)):
        (tiny_scene_folder / camera).mkdir()
        (tiny_scene_folder / f"test/r_{index}.png").rename(tiny_scene_folder / camera / "0000.png")
        edit(tiny_scene_folder, frame(index, file_path=f"{camera}/0000"), "test")
    assert load_scene(tiny_scene_folder).test.names == (
        "test/cam0/0000",
        "test/cam1/0000",
        "test/test/r_2",
        "test/test/r_3",
    )
