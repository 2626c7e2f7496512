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

from conftest import TINY_ANGLE
from nerfcl.errors import NerfclError
from nerfcl.scenes import Scene, load_scene
from nerfcl.scenes.cameras import camera_rays, focal_from_angle, look_at
from nerfcl.scenes.scene import Views, box_seen_by, with_pixel_center

SPLITS = ("train", "val", "test")


def edit(folder: Path, change: Callable[[dict[str, Any]], Any], split: str = "train") -> Path:
    """Changes a split's json in place; its path."""
    path = folder / f"transforms_{split}.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))
    return path


def sides(views: Views) -> tuple[int, int]:
    """Numbers of views with world x > 0 and the others."""
    right = int((views.poses[:, 0, 3] > 0.0).sum())
    return right, len(views) - right


def refuses(folder: Path, *needles: str, size: tuple[int, int] | None = None) -> None:
    """Loading fails with one line that holds all of these and does not end in the middle of things."""
    with pytest.raises(NerfclError) as caught:
        load_scene(folder, size)
    message = str(caught.value)
    for needle in needles:
        assert needle in message
    assert "\n" not in message
    assert message.strip()


# --- what is read ---


def test_views_of_the_tiny_scene(tiny_scene_folder: Path) -> None:
    scene = load_scene(tiny_scene_folder)
    assert scene.name == "tiny"
    assert scene.background == (1.0, 1.0, 1.0)
    for split, count in zip(SPLITS, (6, 4, 4), strict=True):
        views: Views = getattr(scene, split)
        assert (len(views), views.height, views.width) == (count, 16, 16)
        assert views.images.dtype == torch.uint8
        assert views.images.shape == (count, 16, 16, 3)
        assert views.names == tuple(f"{split}/r_{i}" for i in range(count))
        frames = json.loads((tiny_scene_folder / f"transforms_{split}.json").read_text())["frames"]
        torch.testing.assert_close(views.poses, torch.tensor([frame["transform_matrix"] for frame in frames]))
    assert [sides(getattr(scene, split)) for split in SPLITS] == [(3, 3), (2, 2), (2, 2)]


def test_transparent_pixels_become_white_and_others_are_mixed(tiny_scene_folder: Path) -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[0, 0] = (200, 100, 40, 0)
    pixels[0, 1] = (200, 100, 40, 255)
    pixels[3, 2] = (200, 100, 40, 128)
    Image.fromarray(pixels).save(tiny_scene_folder / "train/r_0.png")
    image = load_scene(tiny_scene_folder).train.images[0]
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image[0, 1].tolist() == [200, 100, 40]
    # a = 128 / 255 = 0.50196: 200 a + 255 (1 - a) = 227.39, 100 a + 127 = 177.20, 40 a + 127 = 147.08
    assert image[3, 2].tolist() == [227, 177, 147]


def test_images_without_alpha_are_taken_as_they_are(tiny_scene_folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tiny_scene_folder / "train/r_1.png")
    assert np.array_equal(load_scene(tiny_scene_folder).train.images[1].numpy(), pixels)


def test_resizing_is_lanczos_of_the_rgba_image(tiny_scene_folder: Path) -> None:
    rng = np.random.default_rng(1)
    for split, count in zip(SPLITS, (6, 4, 4), strict=True):
        for index in range(count):
            pixels = rng.integers(0, 256, (40, 40, 4), dtype=np.uint8)
            Image.fromarray(pixels).save(tiny_scene_folder / split / f"r_{index}.png")
    image = load_scene(tiny_scene_folder, (13, 12)).val.images[2].numpy()
    with Image.open(tiny_scene_folder / "val/r_2.png") as original:
        resized = np.asarray(original.resize((13, 12), Image.Resampling.LANCZOS), np.float64)
    expected = resized[..., :3] * resized[..., 3:] / 255 + 255 - resized[..., 3:]
    assert image.shape == (12, 13, 3)
    assert np.abs(image - expected).max() <= 0.501


def test_extension_is_optional_and_png_by_default(tiny_scene_folder: Path) -> None:
    plain = load_scene(tiny_scene_folder)
    edit(tiny_scene_folder, lambda d: d["frames"][0].update(file_path="train/r_0.png"))
    edit(tiny_scene_folder, lambda d: d["frames"][1].update(file_path="./train/r_1"))
    # A dot in a name is no extension.
    (tiny_scene_folder / "train/r_2.png").rename(tiny_scene_folder / "train/view.2.png")
    edit(tiny_scene_folder, lambda d: d["frames"][2].update(file_path="./train/view.2"))
    again = load_scene(tiny_scene_folder)
    assert torch.equal(plain.train.images, again.train.images)
    assert again.train.names[:3] == ("train/r_0", "train/r_1", "train/view.2")


def test_intrinsics_by_hand(tiny_scene_folder: Path) -> None:
    angle = 2 * math.atan(0.5)  # half the width at distance 1 is 0.5: the focal length is the width
    for split in SPLITS:
        edit(tiny_scene_folder, lambda d: d.update(camera_angle_x=angle), split)
    plain = load_scene(tiny_scene_folder).test.intrinsics
    torch.testing.assert_close(plain, torch.tensor([[16.0, 16.0, 8.0, 8.0]]).expand(4, 4))
    # Stretched to 32 x 12 the same rays go through x * 2 and y * 0.75.
    stretched = load_scene(tiny_scene_folder, (32, 12)).test.intrinsics
    torch.testing.assert_close(stretched, torch.tensor([[32.0, 12.0, 16.0, 6.0]]).expand(4, 4))


def test_selecting_and_joining_views(tiny_scene_folder: Path) -> None:
    views = load_scene(tiny_scene_folder).train
    picked = views.select([4, 1])
    assert picked.names == ("train/r_4", "train/r_1")
    for part in ("images", "poses", "intrinsics"):
        assert torch.equal(getattr(picked, part)[0], getattr(views, part)[4])
        assert torch.equal(getattr(picked, part)[1], getattr(views, part)[1])
    assert (len(views.select([])), views.select([]).width) == (0, 16)
    joined = Views.concatenate([picked, views.select([0])])
    assert joined.names == ("train/r_4", "train/r_1", "train/r_0")
    assert torch.equal(joined.poses, views.poses[[4, 1, 0]])
    assert torch.equal(joined.images, views.images[[4, 1, 0]])
    camera = views.camera(3)
    assert torch.equal(camera.world_from_camera, views.poses[3])
    assert (camera.width, camera.height) == (16, 16)


def ring(center: tuple[float, float, float], radius: float, count: int) -> torch.Tensor:
    """Poses on a circle around `center`, parallel to the ground, all looking at it."""
    middle = torch.tensor(center)
    angles = [2 * math.pi * i / count for i in range(count)]
    places = [middle + radius * torch.tensor([math.cos(a), math.sin(a), 0.0]) for a in angles]
    return torch.stack([look_at(place, middle, torch.tensor([0.0, 0.0, 1.0])) for place in places])


def test_box_seen_by_a_ring_of_cameras_by_hand() -> None:
    # 20 pixels at focal length 20: at distance 4 a view reaches 4 * 10 / 20 = 2 to either side.
    intrinsics = torch.tensor([20.0, 20.0, 10.0, 10.0]).expand(5, 4)
    box = box_seen_by(ring((0.0, 0.0, 0.0), 4.0, 5), intrinsics, 20)
    assert box.lower == pytest.approx((-2.0, -2.0, -2.0), abs=1e-5)
    assert box.side == pytest.approx(4.0, abs=1e-5)


def test_box_moves_with_the_cameras_and_takes_the_widest_view() -> None:
    near, far = ring((1.0, 2.0, 3.0), 4.0, 6), ring((1.0, 2.0, 3.0), 6.0, 6)
    intrinsics = torch.tensor([20.0, 20.0, 10.0, 10.0]).expand(12, 4)
    box = box_seen_by(torch.cat([near, far]), intrinsics, 20)
    assert box.lower == pytest.approx((-2.0, -1.0, 0.0), abs=1e-5)
    assert box.side == pytest.approx(6.0, abs=1e-5)


def test_box_of_a_scene_comes_from_its_train_views(tiny_scene_folder: Path) -> None:
    # All cameras look at the origin from distance 4 with half angle 0.35.
    box = load_scene(tiny_scene_folder).box
    assert box.side == pytest.approx(8.0 * math.tan(0.35), abs=1e-4)
    assert box.lower == pytest.approx((-4.0 * math.tan(0.35),) * 3, abs=1e-4)


# --- the scenes that are there ---


@pytest.fixture(scope="module")
def builtin() -> Scene:
    return load_scene("builtin")


def test_builtin_scene_counts_and_sizes(builtin: Scene) -> None:
    assert [len(getattr(builtin, split)) for split in SPLITS] == [100, 50, 100]
    for split in SPLITS:
        views: Views = getattr(builtin, split)
        assert views.images.shape[1:] == (128, 128, 3)
        assert min(sides(views)) >= len(views) // 4
        assert len(set(views.names)) == len(views)


def test_builtin_cameras_are_rotations_on_the_upper_hemisphere_around_the_box(builtin: Scene) -> None:
    for split in SPLITS:
        poses = getattr(builtin, split).poses.double()
        rotations = poses[:, :3, :3]
        products = rotations.transpose(1, 2) @ rotations
        torch.testing.assert_close(products, torch.eye(3).double().expand_as(products), atol=1e-5, rtol=0.0)
        assert (torch.linalg.det(rotations) > 0.99).all()
        assert (poses[:, 2, 3] > 0.0).all()
    lower, side = torch.tensor(builtin.box.lower), builtin.box.side
    assert 1.0 < side < 20.0
    middle = builtin.train.images[:, 54:74, 54:74].float()
    corners = builtin.train.images[:, :8, :8].float()
    assert middle.mean() < 220.0  # something stands in the middle of the box ...
    assert corners.mean() > middle.mean()  # ... and the background is white
    assert (lower < 0.0).all()
    assert (lower + side > 0.0).all()


def test_builtin_views_differ(builtin: Scene) -> None:
    for split in SPLITS:
        images = getattr(builtin, split).images
        assert len({image.numpy().tobytes() for image in images}) == len(images)


def test_builtin_scene_resized() -> None:
    scene = load_scene("builtin", (16, 12))
    assert (scene.train.width, scene.train.height) == (16, 12)
    focal = scene.train.intrinsics[0]
    assert focal[0] / focal[1] == pytest.approx(16 / 12)


def test_lego_counts(lego: Path) -> None:
    scene = load_scene(lego, (64, 64))
    assert scene.name == "lego"
    assert sides(scene.train) == (42, 58)
    assert sides(scene.val) == (53, 47)
    assert sides(scene.test) == (100, 100)
    assert int((scene.test.poses[:, 0, 3] == 0.0).sum()) == 1
    assert sides(scene.train)[0] * scene.train.width * scene.train.height == 172_032


# --- bad input ---


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    refuses(tmp_path / "nowhere", str(tmp_path / "nowhere"), "--data", "builtin")


def test_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    refuses(tmp_path / "file", str(tmp_path / "file"))


@pytest.mark.parametrize("split", SPLITS)
def test_missing_json_is_refused(tiny_scene_folder: Path, split: str) -> None:
    path = tiny_scene_folder / f"transforms_{split}.json"
    path.unlink()
    refuses(tiny_scene_folder, str(path), "no such file")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"frames: []", b"\xff\xfe\x00not utf-8", b'{"frames": [}\n{\n', b"[" * 100_000],
    ids=["empty", "cut off", "yaml", "binary", "several lines", "too deep"],
)
def test_json_that_is_no_json_is_refused(tiny_scene_folder: Path, content: bytes) -> None:
    path = tiny_scene_folder / "transforms_train.json"
    path.write_bytes(content)
    refuses(tiny_scene_folder, str(path), "JSON")


@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"'])
def test_json_that_is_no_object_is_refused(tiny_scene_folder: Path, content: str) -> None:
    path = tiny_scene_folder / "transforms_val.json"
    path.write_text(content)
    refuses(tiny_scene_folder, str(path), "object")


@pytest.mark.parametrize("frames", [[], {}, "text", None, 3])
def test_json_without_a_list_of_frames_is_refused(tiny_scene_folder: Path, frames: Any) -> None:
    refuses(tiny_scene_folder, str(edit(tiny_scene_folder, lambda d: d.update(frames=frames))), "frames")
    refuses(tiny_scene_folder, str(edit(tiny_scene_folder, lambda d: d.pop("frames"))), "frames")


@pytest.mark.parametrize("frame", [None, 3, "text", [], {}])
def test_frame_without_a_matrix_is_refused(tiny_scene_folder: Path, frame: Any) -> None:
    path = edit(tiny_scene_folder, lambda d: d["frames"].__setitem__(2, frame))
    refuses(tiny_scene_folder, str(path), "frame 2", "transform_matrix")


@pytest.mark.parametrize(
    "matrix",
    [
        None,
        "text",
        [],
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
        [[1.0, 0.0, 0.0, "x"], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
        [[1.0, 0.0, 0.0, {}], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
        [[[1.0]] * 4] * 4,
        list(range(16)),
    ],
)
def test_matrix_of_another_shape_is_refused(tiny_scene_folder: Path, matrix: Any) -> None:
    path = edit(tiny_scene_folder, lambda d: d["frames"][1].update(transform_matrix=matrix), "test")
    refuses(tiny_scene_folder, str(path), "frame 1", "transform_matrix")


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e60", "10**400"])
@pytest.mark.parametrize("place", [(0, 0), (1, 3), (3, 3)])
def test_matrix_with_a_number_that_is_none_is_refused(
    tiny_scene_folder: Path, text: str, place: tuple[int, int]
) -> None:
    row, column = place
    value = 10**400 if text == "10**400" else float(text)
    path = edit(tiny_scene_folder, lambda d: d["frames"][3]["transform_matrix"][row].__setitem__(column, value), "val")
    refuses(tiny_scene_folder, str(path), "frame 3", "transform_matrix")


@pytest.mark.parametrize("change", ["zero", "flat"])
def test_singular_matrix_is_refused(tiny_scene_folder: Path, change: str) -> None:
    def flatten(description: dict[str, Any]) -> None:
        matrix = description["frames"][5]["transform_matrix"]
        for row in range(3):
            matrix[row][:3] = [0.0] * 3 if change == "zero" else [matrix[row][0]] * 3

    refuses(tiny_scene_folder, str(edit(tiny_scene_folder, flatten)), "frame 5", "transform_matrix")


@pytest.mark.parametrize("name", [None, 3, ["r_0"]])
def test_frame_without_a_file_is_refused(tiny_scene_folder: Path, name: Any) -> None:
    path = edit(tiny_scene_folder, lambda d: d["frames"][4].update(file_path=name))
    refuses(tiny_scene_folder, str(path), "frame 4", "file_path")
    path = edit(tiny_scene_folder, lambda d: d["frames"][4].pop("file_path"))
    refuses(tiny_scene_folder, str(path), "frame 4", "file_path")


@pytest.mark.parametrize("index", [0, 3])
def test_missing_image_is_refused(tiny_scene_folder: Path, index: int) -> None:
    file = tiny_scene_folder / f"val/r_{index}.png"
    file.unlink()
    refuses(tiny_scene_folder, str(file), "no such image")


@pytest.mark.parametrize("name", ["", "/", ".", "train", "a\0b"])
def test_file_path_that_names_no_image_is_refused(tiny_scene_folder: Path, name: str) -> None:
    edit(tiny_scene_folder, lambda d: d["frames"][1].update(file_path=name))
    refuses(tiny_scene_folder)


@pytest.mark.parametrize("index", [0, 2])
def test_truncated_image_is_refused_wherever_it_ends(tiny_scene_folder: Path, index: int) -> None:
    file = tiny_scene_folder / f"test/r_{index}.png"
    whole = file.read_bytes()
    # The last bytes before the end mark are checksums, without which no pixel is lost.
    for length in range(0, whole.index(b"IEND") - 24, 7):
        file.write_bytes(whole[:length])
        refuses(tiny_scene_folder, str(file))


def test_damaged_image_is_refused(tiny_scene_folder: Path) -> None:
    file = tiny_scene_folder / "train/r_3.png"
    whole = file.read_bytes()
    start = whole.index(b"IDAT") + 4
    for damaged in (b"no image at all", whole[:start] + bytes(len(whole) - start), whole[:start] + whole[start + 9 :]):
        file.write_bytes(damaged)
        refuses(tiny_scene_folder, str(file))


@pytest.mark.parametrize("size", [None, (16, 16)])
def test_image_of_another_size_is_refused(tiny_scene_folder: Path, size: tuple[int, int] | None) -> None:
    file = tiny_scene_folder / "train/r_4.png"
    Image.new("RGBA", (16, 17)).save(file)
    refuses(tiny_scene_folder, str(file), "16x17", "16x16", size=size)


@pytest.mark.parametrize("angle", [0.0, -0.5, math.pi, 4.0, math.nan, math.inf, "0.7", None, [0.7]])
def test_bad_camera_angle_is_refused(tiny_scene_folder: Path, angle: Any) -> None:
    path = edit(tiny_scene_folder, lambda d: d.update(camera_angle_x=angle))
    refuses(tiny_scene_folder, str(path), "camera_angle_x")


def test_missing_camera_angle_is_refused(tiny_scene_folder: Path) -> None:
    refuses(tiny_scene_folder, str(edit(tiny_scene_folder, lambda d: d.pop("camera_angle_x"))), "camera_angle_x")


@pytest.mark.parametrize("size", [(10, 64), (64, 10), (0, 0), (-5, 20)])
def test_too_small_images_are_refused(tiny_scene_folder: Path, size: tuple[int, int]) -> None:
    refuses(tiny_scene_folder, "--img-wh", f"{size[0]} {size[1]}", size=size)
    with pytest.raises(NerfclError, match="at least 11"):
        load_scene("builtin", size)


def test_too_small_image_files_are_refused(tiny_scene_folder: Path) -> None:
    for file in sorted(tiny_scene_folder.glob("*/*.png")):
        Image.new("RGBA", (16, 10)).save(file)
    refuses(tiny_scene_folder, "11")  # SSIM cannot be computed on them, which would show after the training only


def test_pose_with_a_scale_is_refused_or_gives_rays_of_unit_length(tiny_scene_folder: Path) -> None:
    def scale(description: dict[str, Any]) -> None:
        matrix = description["frames"][1]["transform_matrix"]
        for row in range(3):
            matrix[row][:3] = [2.0 * value for value in matrix[row][:3]]

    path = edit(tiny_scene_folder, scale)
    try:
        scene = load_scene(tiny_scene_folder)
    except NerfclError:
        refuses(tiny_scene_folder, str(path), "frame 1", "transform_matrix")
        return
    lengths = camera_rays(scene.train.camera(1)).directions.norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_smallest_size_is_taken(tiny_scene_folder: Path) -> None:
    assert load_scene(tiny_scene_folder, (11, 11)).train.width == 11


# --- where a pixel's centre is ---


def test_a_pixel_center_of_zero_gives_exactly_the_rays_through_upper_left_corners(tiny_scene_folder: Path) -> None:
    scene = load_scene(tiny_scene_folder)
    focal = focal_from_angle(TINY_ANGLE, 16)
    views = with_pixel_center(scene, 0.0).train
    for v in range(len(views)):
        rays = camera_rays(views.camera(v))
        local = rays.directions @ views.poses[v, :3, :3]
        slopes = (local / -local[:, 2:]).view(16, 16, 3)
        by_hand = torch.tensor([[[(i - 8) / focal, -(j - 8) / focal, -1.0] for i in range(16)] for j in range(16)])
        torch.testing.assert_close(slopes, by_hand, atol=1e-6, rtol=0.0)
        assert slopes[8, 8, :2].abs().max() < 1e-6, "the corner in the image's middle lies on the axis"


def test_a_pixel_center_of_a_half_changes_nothing(tiny_scene_folder: Path) -> None:
    scene = load_scene(tiny_scene_folder)
    same = with_pixel_center(scene, 0.5)
    for split in SPLITS:
        assert torch.equal(getattr(same, split).intrinsics, getattr(scene, split).intrinsics)
        assert torch.equal(getattr(scene, split).with_pixel_center(0.5).intrinsics, getattr(scene, split).intrinsics)


def test_a_pixel_center_moves_every_split_and_nothing_else(tiny_scene_folder: Path) -> None:
    scene = load_scene(tiny_scene_folder)
    moved = with_pixel_center(scene, 0.75)
    assert (moved.box, moved.background, moved.name) == (scene.box, scene.background, scene.name)
    for split in SPLITS:
        old, new = getattr(scene, split), getattr(moved, split)
        shift = (new.intrinsics - old.intrinsics).tolist()
        assert shift == [[0.0, 0.0, -0.25, -0.25]] * len(old)
        assert torch.equal(old.poses, new.poses)
        assert torch.equal(old.images, new.images)
        assert old.names == new.names


@pytest.mark.parametrize("center", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_pixel_center_outside_the_pixel_is_refused(center: float, tiny_scene_folder: Path) -> None:
    with pytest.raises(NerfclError, match="--pixel-center"):
        with_pixel_center(load_scene(tiny_scene_folder), center)
