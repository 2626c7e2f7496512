"""The LLFF layout, against formulas worked out here and cameras that are known."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerfcl.models.fields.nerf import NerfSettings
from nerfcl.models.rendering.hierarchical import HierarchicalModelSettings
from nerfcl.models.rendering.ndc import to_ndc
from nerfcl.models.settings import model_settings
from nerfcl.scenes import Scene, load_scene
from nerfcl.scenes.cameras import Rays, camera_rays
from nerfcl.scenes.llff import average_pose, opengl_poses, upright_pose
from nerfcl.streams.tasks import on_side
from scenes.loading import refusal
from support.pictures import noise

FERN = Path(__file__).resolve().parents[3] / "shared/data/nerf_llff_data/fern"
FULL = (48, 36)  # width and height that the poses of the scene below are about
SMALL = (24, 18)
FOCAL = 40.0
NEAREST = 3.0
SPLITS = ("train", "val", "test")


def rotation(seed: int) -> np.ndarray:
    """Some rotation (3, 3)."""
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    return matrix * np.sign(np.linalg.det(matrix))


def row(pose: np.ndarray, near: float = NEAREST) -> np.ndarray:
    """The LLFF row of an OpenGL pose (4, 4)."""
    right, up, backward, position = pose[:3].T
    return np.concatenate([np.stack([-up, right, backward, position, [FULL[1], FULL[0], FOCAL]], 1).ravel(), [near, 9]])


def forward_facing(count: int = 12) -> np.ndarray:
    """Poses (N, 4, 4) spread over a window of 1.6 x 0.8, turned up to about 6 degrees, in a world of strange axes."""
    rng = np.random.default_rng(3)
    world = np.eye(4)
    world[:3] = np.column_stack([rotation(1), [5.0, -7.0, 2.0]])
    poses = []
    for n in range(count):
        pan, tilt = rng.uniform(-0.1, 0.1, 2)
        about_y = [[np.cos(pan), 0, np.sin(pan)], [0, 1, 0], [-np.sin(pan), 0, np.cos(pan)]]
        about_x = [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
        pose = np.eye(4)
        pose[:3, :3] = np.array(about_y) @ about_x
        pose[:3, 3] = 0.8 * np.sin(1.7 * n), 0.4 * np.cos(2.3 * n), rng.uniform(-0.1, 0.1)
        poses.append(world @ pose)
    return np.stack(poses)


def ring(count: int = 12) -> np.ndarray:
    """Poses (N, 4, 4) on a ring of radius 4 around y = 1, upright along y, looking at its middle."""
    poses = []
    for angle in 2.0 * np.pi * np.arange(count) / count:
        backward = np.array([np.sin(angle), 0.0, np.cos(angle)])
        pose = np.eye(4)
        pose[:3] = np.stack([np.cross([0, 1, 0], backward), [0, 1, 0], backward, 4.0 * backward + [0, 1, 0]], 1)
        poses.append(pose)
    return np.stack(poses)


def write_llff(root: Path, poses: np.ndarray, folders: dict[str, int] | None = None) -> Path:
    """Write a scene with random images; `folders` says by what number the size of each folder is divided."""
    for name, part in (folders or {"images": 1, "images_2": 2}).items():
        (root / name).mkdir(parents=True)
        for n in range(len(poses)):
            pixels = noise(FULL[1] // part, FULL[0] // part, seed=100 * part + n)
            Image.fromarray(pixels).save(root / name / f"image{n:03}.png")
    np.save(root / "poses_bounds.npy", np.stack([row(pose) for pose in poses]))
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_llff(tmp_path / "plants", forward_facing())


def test_the_longer_side_may_be_limited(folder: Path) -> None:
    whole, small = load_scene(folder).train, load_scene(folder, max_side=16).train
    assert max(small.width, small.height) == 16 < max(whole.width, whole.height)
    factors = torch.tensor([small.width / whole.width, small.height / whole.height] * 2)
    torch.testing.assert_close(small.intrinsics, whole.intrinsics * factors)


def ends_of_rays(scene: Scene) -> torch.Tensor:
    """Where the rays through the centres of all train pixels begin and end in the scene's coordinates, (2, R, 3)."""
    assert scene.ndc is not None
    parts = [camera_rays(scene.train.camera(n)) for n in range(len(scene.train))]
    rays = Rays(torch.cat([part.origins for part in parts]), torch.cat([part.directions for part in parts]))
    warped, lengths = to_ndc(rays, scene.ndc)
    return torch.stack([warped.origins, warped.origins + lengths[:, None] * warped.directions])


# --- poses ---


def test_pose_by_hand() -> None:
    # The camera stands at (1, 2, 3) and looks along +y; its image's right is +x and its image's top +z.
    written = np.array([[0, 1, 0, 1, 36], [0, 0, -1, 2, 48], [-1, 0, 0, 3, 40]], dtype=np.float64)
    pose = opengl_poses(np.concatenate([written.ravel(), [1.0, 2.0]])[None])[0]
    assert pose.tolist() == [[1, 0, 0, 1], [0, 0, -1, 2], [0, 1, 0, 3], [0, 0, 0, 1]]


def test_recentred_poses_average_to_the_identity() -> None:
    poses = forward_facing()
    centred = np.linalg.inv(average_pose(poses)) @ poses
    np.testing.assert_allclose(average_pose(centred), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(centred[:, :3, 3].mean(0), 0.0, atol=1e-12)
    mean = centred[:, :3, 2].mean(0)
    np.testing.assert_allclose(mean / np.linalg.norm(mean), [0.0, 0.0, 1.0], atol=1e-12)
    assert abs(centred[:, 0, 1].mean()) < 1e-12  # upwards has no part to the right


def test_upright_world_of_a_ring() -> None:
    poses = ring()
    centred = np.linalg.inv(upright_pose(poses)) @ poses
    np.testing.assert_allclose(centred[:, :3, 1], np.tile([0.0, 0.0, 1.0], (12, 1)), atol=1e-12)
    np.testing.assert_allclose(centred[0, :3], [[1, 0, 0, 0], [0, 0, -1, -4], [0, 1, 0, 0]], atol=1e-12)


def test_rays_through_a_points_pixels_meet_in_one_point(folder: Path) -> None:
    rows = np.load(folder / "poses_bounds.npy")
    loaded = load_scene(folder, (24, 12))  # stretched: 1 / 2 across, 1 / 3 down
    where = {name.split("/")[1]: (split, n) for split in SPLITS for n, name in enumerate(getattr(loaded, split).names)}
    point = average_pose(forward_facing()) @ [0.3, -0.2, -6.0, 1.0]
    origins, directions = [], []
    for n, numbers in enumerate(rows):
        down, right, backward, position, _ = numbers[:15].reshape(3, 5).T
        way = point[:3] - position
        column = (24 + FOCAL * (right @ way) / -(backward @ way)) / 2
        line = (18 + FOCAL * (down @ way) / -(backward @ way)) / 3
        split, index = where[f"image{n:03}"]
        pose = getattr(loaded, split).poses[index].double().numpy()
        fx, fy, cx, cy = getattr(loaded, split).intrinsics[index].tolist()
        directions.append(pose[:3, :3] @ [(column - cx) / fx, (cy - line) / fy, -1.0])
        origins.append(pose[:3, 3])
    unit = np.array([0.3, -0.2, -6.0]) / (0.75 * NEAREST)
    for origin, direction in zip(origins, directions, strict=True):
        np.testing.assert_allclose(np.cross(unit - origin, direction), 0.0, atol=1e-4)


def test_rays_of_train_views_fill_the_cube(folder: Path) -> None:
    scene = load_scene(folder, SMALL)
    assert (scene.box.lower, scene.box.side) == ((-1.0, -1.0, -1.0), 2.0)
    assert scene.ndc is not None
    assert scene.ndc.scale_x <= 2 * scene.train.intrinsics[0, 0] / SMALL[0]
    reach = ends_of_rays(scene).abs().amax((0, 1))
    assert (reach <= 1.0 + 1e-5).all()
    # Half a pixel short of the outermost corner at the most: 1 / 18 of the half height, somewhat more when turned.
    assert (reach > 0.93).all()


def test_a_camera_at_the_origin_fills_the_cube_by_the_usual_scale(tmp_path: Path) -> None:
    loaded = load_scene(write_llff(tmp_path / "one", np.tile(np.eye(4), (8, 1, 1))))
    assert loaded.ndc is not None
    assert loaded.ndc.scale_x == pytest.approx(FOCAL / 24)
    assert loaded.ndc.scale_y == pytest.approx(FOCAL / 18)


# --- what is read ---


def test_views_their_splits_and_a_black_background(folder: Path) -> None:
    transparent = np.dstack([noise(FULL[1], FULL[0]), np.zeros((FULL[1], FULL[0]), np.uint8)])
    Image.fromarray(transparent).save(folder / "images/image000.png")
    loaded = load_scene(folder, FULL)
    assert loaded.name == "plants"
    assert loaded.background == (0.0, 0.0, 0.0)
    assert loaded.test.names == ("test/image000", "test/image008")
    assert loaded.val.names == ("val/image003", "val/image011")
    assert loaded.train.names == tuple(f"train/image{n:03}" for n in (1, 2, 4, 5, 6, 7, 9, 10))
    pixels = np.asarray(Image.open(folder / "images/image005.png"))
    assert np.array_equal(loaded.train.images[3].numpy(), pixels)
    assert not loaded.test.images[0].any()
    torch.testing.assert_close(loaded.val.intrinsics, torch.tensor([[FOCAL, FOCAL, 24.0, 18.0]]).expand(2, 4))


@pytest.mark.parametrize(
    ("size", "used"), [(None, "images"), ((12, 11), "images_4"), ((13, 11), "images_2"), ((60, 40), "images")]
)
def test_smallest_images_that_are_wide_enough_are_resized(
    tmp_path: Path, size: tuple[int, int] | None, used: str
) -> None:
    root = write_llff(tmp_path / "plants", forward_facing(), {"images": 1, "images_2": 2, "images_4": 4})
    (root / "images_8").mkdir()  # empty
    (root / "images_2" / ".hidden.png").write_bytes(b"no image")
    loaded = load_scene(root, size)
    with Image.open(root / used / "image008.png") as original:
        expected = original.resize(size or original.size, Image.Resampling.LANCZOS)
    assert np.array_equal(loaded.test.images[1].numpy(), np.asarray(expected))


def test_smallest_images_that_are_large_enough_serve_a_longest_side(tmp_path: Path) -> None:
    root = write_llff(tmp_path / "plants", forward_facing(), {"images": 1, "images_2": 2})
    with Image.open(root / "images_2" / "image008.png") as half:
        expected = np.asarray(half)
    small = load_scene(root, max_side=max(half.size)).test
    assert np.array_equal(small.images[1].numpy(), expected)


def test_cameras_around_something(tmp_path: Path) -> None:
    root = write_llff(tmp_path / "ring", ring())
    loaded = load_scene(root, SMALL, spheric_poses=True)
    assert loaded.ndc is None
    # Radius 4 and half the width 24 at focal length 40, in units of 3 / 4 of the nearest bound.
    unit = 0.75 * NEAREST
    assert loaded.box.side == pytest.approx(2 * 4 / unit * 24 / FOCAL, rel=1e-4)
    assert loaded.box.lower == pytest.approx((-0.5 * loaded.box.side,) * 3, abs=1e-4)
    settings = model_settings(loaded, NerfSettings(use_disp=True))
    assert isinstance(settings, HierarchicalModelSettings)
    assert 0.0 < settings.near < 4 / unit < settings.far


@pytest.mark.parametrize(
    ("cameras", "message"),
    [(12, "no common viewing direction.*spheric_poses"), (8, "do not all look forward.*use spheric_poses")],
)
def test_cameras_around_something_are_not_taken_for_forward_facing_ones(
    tmp_path: Path, cameras: int, message: str
) -> None:
    assert re.search(message, refusal(write_llff(tmp_path / "ring", ring()[:cameras]), SMALL))


@pytest.mark.skipif(not FERN.is_dir(), reason=f"no test data at {FERN}")
def test_fern() -> None:
    fern = load_scene(FERN, (126, 94))
    assert fern.name == "fern"
    assert [len(getattr(fern, split)) for split in SPLITS] == [14, 3, 3]
    assert [len(on_side(getattr(fern, split), "right")) for split in SPLITS] == [9, 1, 1]
    assert fern.test.images.shape == (3, 94, 126, 3)
    focal = 3260.526333
    expected = torch.tensor([focal * 126 / 4032, focal * 94 / 3024, 63.0, 47.0])
    torch.testing.assert_close(fern.train.intrinsics[0], expected)
    assert ends_of_rays(fern).abs().max() <= 1.0 + 1e-5


# --- damage ---


def changed(where: tuple[int, int], value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(rows: np.ndarray) -> np.ndarray:
        rows[where] = value
        return rows

    return change


@pytest.mark.parametrize(
    ("edit", "needle"),
    [
        (lambda rows: rows[:, :15], "(12, 15)"),
        (lambda rows: rows[0], "(17,)"),
        (lambda rows: rows[:3], "3 poses"),
        (lambda rows: rows[:10], "10 poses"),
        (lambda rows: rows[:0], "0 poses"),
        (lambda rows: rows[:, :0], "(12, 0)"),
        (lambda rows: np.where(rows > 0.0, "north", "south"), "not an array of numbers"),
        (changed((5, 3), np.nan), "row 5 has NaN"),
        (changed((6, 0), np.inf), "row 6 has NaN or infinity"),
        (changed((7, 14), 0.0), "row 7 has a height"),
        (changed((8, 15), -1.0), "near bound"),
        (changed((9, 1), 3.0), "row 9 has a matrix"),
        (changed((0, 4), 90.0), "is 48x36, but"),
    ],
)
def test_unusable_poses_are_refused(folder: Path, edit: Callable[[np.ndarray], np.ndarray], needle: str) -> None:
    path = folder / "poses_bounds.npy"
    np.save(path, edit(np.load(path)))
    message = refusal(folder)
    assert "poses_bounds.npy" in message
    assert needle in message


def test_damaged_or_missing_poses_are_refused(folder: Path) -> None:
    path = folder / "poses_bounds.npy"
    whole = path.read_bytes()
    cut = [whole[:length] for length in range(0, len(whole), 97)]
    for content in (*cut, b"PK\x03\x04 not an archive", b"not an array", b"\x93NUMPY\x01\x00\xff\xff{"):
        path.write_bytes(content)
        assert f"{path}: is not an array of numbers" in (message := refusal(folder))
        assert "restore it" in message
    path.unlink()
    assert f"{path}: no such file" in refusal(folder)


def test_missing_images_are_refused(folder: Path) -> None:
    (folder / "images_2/image004.png").unlink()
    assert f"{folder / 'images_2'}: has 11 images, but poses_bounds.npy has 12 poses" in refusal(folder, SMALL)
    load_scene(folder, FULL)
    for file in folder.glob("images*/*"):
        file.unlink()
    assert f"{folder}: has no folder 'images' or 'images_N' with images" in refusal(folder, SMALL)


@pytest.mark.parametrize("index", [0, 4])
@pytest.mark.parametrize("length", [0, 20, 300])
def test_damaged_images_are_refused(folder: Path, index: int, length: int) -> None:
    file = folder / f"images_2/image{index:03}.png"
    file.write_bytes(file.read_bytes()[:length])
    assert str(file) in refusal(folder, SMALL)


def test_images_of_several_sizes_or_too_small_ones_are_refused(folder: Path, tmp_path: Path) -> None:
    file = folder / "images_2/image004.png"
    Image.new("RGB", (24, 19)).save(file)
    assert re.search(f"{re.escape(str(file))}: is 24x19, .* 24x18", refusal(folder, SMALL))
    small = write_llff(tmp_path / "small", forward_facing(), {"images_4": 4})
    assert "is 12x9 pixels; images must be at least 11" in refusal(small)


def test_cameras_without_an_upwards_are_refused(tmp_path: Path) -> None:
    upside_down = np.stack([np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0])] * 4)
    assert "no common up" in refusal(write_llff(tmp_path / "rolled", upside_down), SMALL)


@pytest.mark.parametrize(
    "name", ["images_masks", "images8", "images_", "images_x", "images_2x", "imagesold", "images_0"]
)
def test_other_folders_are_not_taken_for_images(tmp_path: Path, name: str) -> None:
    root = write_llff(tmp_path / "plants", forward_facing(), {"images": 1, "images_2": 2})
    expected = load_scene(root, SMALL).train.images
    (root / name).mkdir()
    for n in range(12):
        Image.fromarray(noise(*SMALL, seed=900 + n)).save(root / name / f"image{n:03}.png")
    assert torch.equal(load_scene(root, SMALL).train.images, expected)


@pytest.mark.parametrize("bound", [1e-300, 1e-30, 1e-9])
def test_a_near_bound_of_next_to_nothing_is_refused(folder: Path, bound: float) -> None:
    path = folder / "poses_bounds.npy"
    np.save(path, changed((4, 15), bound)(np.load(path)))
    message = refusal(folder)
    assert f"{path}: row " in message
    assert "than the smallest near bound" in message or "times as far from the others" in message


def test_positions_of_another_galaxy_are_refused(folder: Path) -> None:
    path = folder / "poses_bounds.npy"
    np.save(path, changed((4, 3), 1e300)(np.load(path)))
    assert f"{path}: row " in refusal(folder)


def test_a_folder_with_cameras_of_another_layout_is_not_taken_for_this_one(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "transforms.json").write_text("{}")
    message = refusal(tmp_path)
    assert "transforms" in message
    assert "poses_bounds.npy" not in message
