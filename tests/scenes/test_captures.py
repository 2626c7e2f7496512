"""One transforms.json, as instant-ngp and nerfstudio write it: cameras, missing images, splits, paths."""

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
from nerfcl.scenes.format import MaxSide
from nerfcl.scenes.lenses import Lens, lens_row
from nerfcl.scenes.scene import Views
from scenes.loading import refusal
from support.scenes import ring_pose

WIDTH, HEIGHT = 48, 64
COUNT = 16
CAMERA = {"fl_x": 60.0, "fl_y": 62.0, "cx": 25.0, "cy": 31.0, "w": WIDTH, "h": HEIGHT}
Content = dict[str, Any]


def photograph(number: int) -> Image.Image:
    """A portrait, dark at the top, whose red is its number."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[..., 0] = number
    pixels[..., 1] = np.linspace(0, 255, HEIGHT)[:, None]
    return Image.fromarray(pixels)


def write_capture(root: Path, change: Callable[[Content], object] = lambda _: None, **camera: Any) -> Path:
    """A capture of 16 photographs on a ring."""
    (root / "images").mkdir(parents=True)
    frames = []
    for number in range(COUNT):
        photograph(number).save(root / f"images/{number:04d}.png")
        pose = ring_pose(360.0 * number / COUNT).double()
        frames.append({"file_path": f"images/{number:04d}.png", "transform_matrix": pose.tolist()})
    content: Content = {**CAMERA, **camera, "frames": frames}
    change(content)
    (root / "transforms.json").write_text(json.dumps(content))
    return root


def numbers(views: Views) -> list[int]:
    return views.images[:, 0, 0, 0].tolist()


def test_intrinsics_of_the_file_and_of_frames(tmp_path: Path) -> None:
    root = write_capture(tmp_path, lambda content: content["frames"][1].update(fl_x=66.0, cx=20.0))
    train = load_scene(root).train
    assert numbers(train)[:2] == [1, 2]
    torch.testing.assert_close(train.intrinsics[0], torch.tensor([66.0, 62.0, 20.0, 31.0]))
    torch.testing.assert_close(train.intrinsics[1], torch.tensor([60.0, 62.0, 25.0, 31.0]))
    half = load_scene(root, max_side=32).train
    assert (half.width, half.height) == (24, 32)
    torch.testing.assert_close(half.intrinsics[1], torch.tensor([30.0, 31.0, 12.5, 15.5]))
    assert (load_scene(root, max_side=500).train.width, load_scene(root, (20, 20)).train.width) == (WIDTH, 20)


def test_photographs_have_256_pixels_and_renderings_64_unless_a_size_is_given(tmp_path: Path) -> None:
    sides: tuple[MaxSide, ...] = ("auto", 100, None)
    sizes = {}
    for name, mode in (("photographs", "RGB"), ("renderings", "RGBA")):
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.new(mode, (500, 300)).save(tmp_path / name / f"{number}.png")
        frames = [{"file_path": f"{n}.png", "transform_matrix": ring_pose(90.0 * n).tolist()} for n in range(4)]
        (tmp_path / name / "transforms.json").write_text(json.dumps({"camera_angle_x": 0.8, "frames": frames}))
        for side in sides:
            train = load_scene(tmp_path / name, max_side=side).train
            sizes[name, side] = (train.width, train.height)
    assert sizes["photographs", "auto"] == (256, 154)
    assert sizes["renderings", "auto"] == (64, 38)
    assert sizes["photographs", 100] == sizes["renderings", 100] == (100, 60)
    assert sizes["photographs", None] == sizes["renderings", None] == (500, 300)
    assert load_scene(tmp_path / "photographs", (20, 30), max_side="auto").train.width == 20


def test_stretched_images_are_told(tmp_path: Path) -> None:
    root = write_capture(tmp_path)
    assert not any("stretched" in note for note in load_scene(root, (24, 32)).notes)
    assert any("48x64 are stretched to 32x32" in note for note in load_scene(root, (32, 32)).notes)


def test_angles_of_view_without_focal_lengths(tmp_path: Path) -> None:
    def change(content: Content) -> None:
        del content["fl_x"], content["fl_y"], content["cx"], content["cy"]
        content.update(camera_angle_x=2 * math.atan(0.5), camera_angle_y=2 * math.atan(1.0))

    expected = torch.tensor([WIDTH, HEIGHT / 2, WIDTH / 2, HEIGHT / 2])
    torch.testing.assert_close(load_scene(write_capture(tmp_path, change)).train.intrinsics[0], expected)


@pytest.mark.parametrize(
    ("camera", "lens"),
    [
        ({"camera_model": "OPENCV", "k1": 0.1, "k2": -0.05, "p1": 0.002, "p2": 0.001}, Lens.PERSPECTIVE),
        ({"k1": 0.1, "p2": 0.001}, Lens.PERSPECTIVE),
        ({"camera_model": "OPENCV_FISHEYE", "k1": 0.05, "k2": -0.01, "k3": 0.002, "k4": -0.0005}, Lens.FISHEYE),
        ({"is_fisheye": True, "k1": 0.05}, Lens.FISHEYE),
    ],
)
def test_distortion_is_that_of_the_lens(camera: dict[str, Any], lens: Lens, tmp_path: Path) -> None:
    found = load_scene(write_capture(tmp_path, **camera)).train.intrinsics[0]
    factors = {name: value for name, value in camera.items() if name[0] in "kp"}
    torch.testing.assert_close(found, torch.tensor(lens_row((60.0, 62.0, 25.0, 31.0), lens, factors)))


def test_a_lens_without_distortion_is_a_pinhole(tmp_path: Path) -> None:
    capture = write_capture(tmp_path, camera_model="OPENCV", k1=0.0, k2=0.0, p1=0.0, p2=0.0)
    assert load_scene(capture).train.intrinsics.shape == (12, 4)


def test_without_a_split_every_eighth_view_is_for_testing(tmp_path: Path) -> None:
    scene = load_scene(write_capture(tmp_path, lambda content: content["frames"].reverse()))
    assert numbers(scene.test) == [0, 8]
    assert numbers(scene.val) == [3, 11]
    assert numbers(scene.train) == [1, 2, 4, 5, 6, 7, 9, 10, 12, 13, 14, 15]
    assert scene.notes == (
        "no split is given: of the frames by name, every 8th is a test view (12 train, 2 val, 2 test)",
    )


def test_named_splits_are_kept_and_missing_validation_views_taken_from_train(tmp_path: Path) -> None:
    def change(content: Content) -> None:
        names = [frame["file_path"] for frame in content["frames"]]
        content.update(train_filenames=names[:10], test_filenames=names[12:14])

    scene = load_scene(write_capture(tmp_path, change))
    assert numbers(scene.train) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert (numbers(scene.val), numbers(scene.test)) == ([3], [12, 13])
    assert scene.notes == ("there are no validation views; 1 train view became such",)


def test_frames_without_an_image_are_left_out_and_counted(tmp_path: Path) -> None:
    root = write_capture(tmp_path)
    for number in (0, 7, 15):
        (root / f"images/{number:04d}.png").unlink()
    scene = load_scene(root)
    assert numbers(scene.test) == [1, 10]
    note = "transforms.json lists 16 frames, 3 of which have no image and are left out (0000.png is the first)"
    assert scene.notes[0] == note
    for file in sorted((root / "images").iterdir())[3:]:
        file.unlink()
    assert "and 10 more: 13 of 16 images are missing; restore them" in refusal(root)


@pytest.mark.parametrize(
    "name",
    ["images\\0003.png", "images/0003", "./images/0003", "C:\\captures\\fox\\images\\0003.png", "/a/b/images/0003"],
)
def test_paths_of_other_machines_are_found(name: str, tmp_path: Path) -> None:
    scene = load_scene(write_capture(tmp_path, lambda content: content["frames"][3].update(file_path=name)))
    assert sum(map(len, (scene.train, scene.val, scene.test))) == COUNT
    assert 3 in numbers(scene.train) + numbers(scene.val) + numbers(scene.test)


def test_what_is_not_used_is_said(tmp_path: Path) -> None:
    def change(content: Content) -> None:
        for entry in content["frames"][:5]:
            entry["mask_path"] = "masks/none.png"

    notes = load_scene(write_capture(tmp_path, change)).notes
    assert notes[0] == "transforms.json: 'mask_path' of 5 frames is not used"


def test_a_scaled_rotation_is_normalised(tmp_path: Path) -> None:
    def change(content: Content) -> None:
        matrix = np.array(content["frames"][1]["transform_matrix"])
        matrix[:3, :3] *= 2.5
        content["frames"][1]["transform_matrix"] = matrix.tolist()

    poses = load_scene(write_capture(tmp_path, change)).train.poses
    torch.testing.assert_close(poses[0], ring_pose(360.0 / COUNT), atol=1e-6, rtol=0.0)


def test_far_coordinates_are_centred_in_double_precision(tmp_path: Path) -> None:
    def change(content: Content) -> None:
        for frame in content["frames"]:
            for row, far in enumerate((4.2e6, 5.1e5, 100.0)):
                frame["transform_matrix"][row][3] += far

    near, far = load_scene(write_capture(tmp_path / "near")), load_scene(write_capture(tmp_path / "far", change))
    offset = torch.tensor(far.offset, dtype=torch.float64) - torch.tensor([4.2e6, 5.1e5, 100.0], dtype=torch.float64)
    moved = far.train.poses[:, :3, 3].double() + offset
    assert (moved - near.train.poses[:, :3, 3]).abs().max() < 1e-6
    assert near.offset == (0.0, 0.0, 0.0)
    assert far.box.side == pytest.approx(near.box.side, abs=1e-4)


def test_a_turned_photograph_belongs_to_its_camera(tmp_path: Path) -> None:
    root = write_capture(tmp_path)
    upright = load_scene(root).train.images
    for number in range(COUNT):
        exif = Image.Exif()
        exif[0x0112] = 6  # is to be turned clockwise by a quarter
        lying = photograph(number).transpose(Image.Transpose.ROTATE_90)
        lying.save(root / f"images/{number:04d}.png", exif=exif)
    assert torch.equal(load_scene(root).train.images, upright)


def test_a_smaller_copy_of_the_image_is_scaled_to(tmp_path: Path) -> None:
    camera = {name: 10 * value for name, value in CAMERA.items()}
    torch.testing.assert_close(
        load_scene(write_capture(tmp_path, **camera)).train.intrinsics[0], torch.tensor([60.0, 62.0, 25.0, 31.0])
    )


def frame(**values: Any) -> Callable[[Content], object]:
    return lambda content: content["frames"][2].update(values)


@pytest.mark.parametrize(
    ("change", "needles"),
    [
        (lambda content: content.update(camera_angle_x=1.0), ("'fl_x' 60", "'camera_angle_x' 1", "43.9")),
        (frame(fl_x=-1.0), ("frame 2", "'fl_x' must be a number")),
        (frame(k1="a"), ("frame 2", "'k1' must be a number")),
        (lambda content: content.update(cx=math.nan), ("'cx' must be a number",)),
        (lambda content: content.update(h=0), ("'h' must be a number",)),
        (lambda content: content.update(w=64, h=48), ("is 48x64, but", "is for images of 64x48")),
        (lambda content: content.update(camera_model="LIGHT_FIELD"), ("'camera_model' 'LIGHT_FIELD'", "OPENCV")),
        (lambda content: content.update(k1=-2.0), ("distortion (k1)", "folds")),
        (lambda content: content.update(fl_x=None), ("'fl_x' must be a number",)),
        (lambda content: [content.pop("fl_x"), content.pop("fl_y")], ("no focal length", "'camera_angle_x'")),
        (frame(transform_matrix=np.eye(4)[::-1].tolist()), ("frame 2", "0 0 0 1")),
        (lambda content: content.update(train_filenames=["none.png"]), ("'train_filenames' names no image",)),
        (lambda content: content.update(train_filenames=3), ("'train_filenames' must be a list",)),
        (lambda content: content.update(frames=content["frames"][:3]), ("at least 4",)),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(
    change: Callable[[Content], object], needles: tuple[str, ...], tmp_path: Path
) -> None:
    message = refusal(write_capture(tmp_path, change))
    for needle in ("transforms.json", *needles):
        assert needle in message


def test_the_fox_has_fifty_photographs(fox: Path) -> None:
    scene = load_scene(fox, max_side=64)
    assert (len(scene.train), len(scene.val), len(scene.test)) == (37, 6, 7)
    assert (scene.train.width, scene.train.height) == (36, 64)
    assert "lists 67 frames, 17 of which have no image" in scene.notes[0]
