"""The LLFF layout and normalised device coordinates, against formulas worked out here and cameras that are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerfcl.errors import NerfclError
from nerfcl.models.fields.nerf import NerfField
from nerfcl.models.rendering.hierarchical import HierarchicalModel, HierarchicalSettings
from nerfcl.models.rendering.model import render_image
from nerfcl.models.rendering.ndc import to_ndc
from nerfcl.models.rendering.occupancy import OccupancyModel
from nerfcl.models.settings import GridModel, NerfModel, settings_from_dict, settings_to_dict
from nerfcl.scenes import Ndc, Scene, load_scene
from nerfcl.scenes.cameras import Rays, camera_rays
from nerfcl.scenes.llff import average_pose, opengl_poses, upright_pose
from nerfcl.streams.tasks import on_side
from nerfcl.training.optimisation import Adam

FERN = Path(__file__).resolve().parents[2] / "shared/data/nerf_llff_data/fern"
FULL = (48, 36)  # width and height that the poses of the scene below are about
FOCAL = 40.0
NEAREST = 3.0
SPLITS = ("train", "val", "test")
NDC = Ndc(1.2, 1.6, 1.0)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rotation(seed: int) -> np.ndarray:
    """Some rotation (3, 3)."""
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    return turn * np.sign(np.linalg.det(turn))


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
        turn_y = [[np.cos(pan), 0, np.sin(pan)], [0, 1, 0], [-np.sin(pan), 0, np.cos(pan)]]
        turn_x = [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
        pose = np.eye(4)
        pose[:3, :3] = np.array(turn_y) @ turn_x
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
    """Writes a scene with random pictures; `folders` says by what number the size of each folder is divided."""
    rng = np.random.default_rng(0)
    for name, part in (folders or {"images": 1, "images_2": 2}).items():
        (root / name).mkdir(parents=True)
        for n in range(len(poses)):
            pixels = rng.integers(0, 256, (FULL[1] // part, FULL[0] // part, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"image{n:03}.png")
    np.save(root / "poses_bounds.npy", np.stack([row(pose) for pose in poses]))
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_llff(tmp_path / "plants", forward_facing())


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return load_scene(write_llff(tmp_path_factory.mktemp("llff") / "plants", forward_facing()), (24, 18))


@pytest.fixture(scope="module")
def fern() -> Scene:
    if not FERN.is_dir():
        pytest.skip(f"no test data at {FERN}")
    return load_scene(FERN, (126, 94))


def rays_of(scene: Scene) -> Rays:
    """All rays of all train views, through pixels' centres."""
    parts = [camera_rays(scene.train.camera(n)) for n in range(len(scene.train))]
    return Rays(torch.cat([part.origins for part in parts]), torch.cat([part.directions for part in parts]))


def refuses(folder: Path, *needles: str, size: tuple[int, int] | None = (24, 18), spheric: bool = False) -> None:
    with pytest.raises(NerfclError) as caught:
        load_scene(folder, size, spheric_poses=spheric)
    for needle in needles:
        assert needle in str(caught.value)
    assert "\n" not in str(caught.value)


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


# --- normalised device coordinates ---


def some_rays(count: int = 200) -> Rays:
    """Rays that look about along -z from about the origin, in float64."""
    origins = 0.3 * torch.randn(count, 3, generator=seeded(1), dtype=torch.float64)
    aside = torch.rand(count, 2, generator=seeded(2), dtype=torch.float64) - 0.5
    directions = torch.cat([aside, torch.full((count, 1), -1.0, dtype=torch.float64)], -1)
    return Rays(origins, torch.nn.functional.normalize(directions, dim=-1), 4)


def test_points_of_a_world_ray_lie_on_its_warped_ray_in_order() -> None:
    rays = some_rays()
    warped, lengths = to_ndc(rays, NDC)
    assert warped.per_pixel == 4
    torch.testing.assert_close(warped.directions.norm(dim=-1), torch.ones(200, dtype=torch.float64))
    before = torch.zeros(200, dtype=torch.float64)
    for distance in (2.5, 4.0, 20.0, 1e9):
        x, y, z = (rays.origins + distance * rays.directions).unbind(-1)
        point = torch.stack([-1.2 * x / z, -1.6 * y / z, 1.0 + 2.0 / z], -1)
        along = ((point - warped.origins) * warped.directions).sum(-1)
        torch.testing.assert_close(warped.origins + along[:, None] * warped.directions, point)
        assert (along > before).all()
        before = along
    torch.testing.assert_close(before, lengths, atol=1e-6, rtol=0.0)  # 1e9 is about infinity
    ends = warped.origins + lengths[:, None] * warped.directions
    torch.testing.assert_close(ends[:, 2], torch.ones(200, dtype=torch.float64))


def test_rays_begin_on_the_near_plane_or_where_they_are_beyond() -> None:
    directions = torch.tensor([[0.0, 0.0, -1.0]]).expand(3, 3)
    origins = torch.tensor([[0.5, 0.0, 0.4], [0.5, 0.25, -1.0], [0.5, 0.25, -2.0]])
    warped, lengths = to_ndc(Rays(origins, directions), NDC)
    expected = torch.tensor([[0.6, 0.0, -1.0], [0.6, 0.4, -1.0], [0.3, 0.2, 0.0]])
    torch.testing.assert_close(warped.origins, expected)
    torch.testing.assert_close(lengths, (torch.tensor([[0.0, 0.0, 1.0]]) - expected).norm(dim=-1))


def test_rays_of_train_views_fill_the_cube(scene: Scene) -> None:
    assert scene.ndc is not None
    assert (scene.box.lower, scene.box.side) == ((-1.0, -1.0, -1.0), 2.0)
    assert scene.ndc.scale_x <= 2 * scene.train.intrinsics[0, 0] / 24
    warped, lengths = to_ndc(rays_of(scene), scene.ndc)
    ends = warped.origins + lengths[:, None] * warped.directions
    reach = torch.cat([warped.origins, ends]).abs().amax(0)
    assert (reach <= 1.0 + 1e-5).all()
    # Half a pixel short of the outermost corner at the most: 1 / 18 of the half height, somewhat more when turned.
    assert (reach > 0.93).all()


def test_a_camera_at_the_origin_fills_the_cube_by_the_usual_scale(tmp_path: Path) -> None:
    loaded = load_scene(write_llff(tmp_path / "one", np.tile(np.eye(4), (8, 1, 1))))
    assert loaded.ndc is not None
    assert loaded.ndc.scale_x == pytest.approx(FOCAL / 24)
    assert loaded.ndc.scale_y == pytest.approx(FOCAL / 18)


# --- models ---


def models_of(scene: Scene) -> tuple[OccupancyModel, HierarchicalModel]:
    nerf = NerfModel.for_scene(scene, samples=12, importance=8, noise_std=0.0).build(0)
    for network in (nerf.coarse, nerf.fine):
        assert network is not None
        torch.nn.init.constant_(network.density.bias, 0.2)  # fog: where every density is negative nothing is learned
    return GridModel.for_scene(scene).build(0), nerf


@pytest.mark.parametrize("which", [0, 1], ids=["grid", "nerf"])
def test_one_step_lowers_the_loss(scene: Scene, which: int) -> None:
    model, rays = models_of(scene)[which], rays_of(scene)
    chosen = torch.randperm(len(rays), generator=seeded(1))[:128]
    rays = Rays(rays.origins[chosen], rays.directions[chosen])
    targets = scene.train.images.view(-1, 3)[chosen] / 255.0

    def loss() -> torch.Tensor:
        rendering = model.render(rays)
        coarse = 0.0 if rendering.coarse is None else (rendering.coarse - targets).square().mean()
        return (rendering.rgb - targets).square().mean() + coarse

    before = loss()
    before.backward()
    Adam(model.parameters()).step((1e-2, 5e-4)[which])
    assert loss() < before


@pytest.mark.parametrize("which", [0, 1], ids=["grid", "nerf"])
def test_rays_that_do_not_look_forward_see_the_background(scene: Scene, which: int) -> None:
    model = models_of(scene)[which]
    model.background[:] = torch.tensor([0.2, 0.4, 0.6])
    ways = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, -1e-12], [0.6, 0.0, 0.8], [0.0, 0.0, -1.0]])
    rendering = model.render(Rays(torch.zeros(5, 3), ways), seeded(1))
    torch.testing.assert_close(rendering.rgb[:4].detach(), torch.tensor([[0.2, 0.4, 0.6]]).expand(4, 3))
    assert (rendering.opacity[:4] == 0.0).all()
    assert rendering.opacity[4] > 0.0
    rendering.rgb.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("which", [0, 1], ids=["grid", "nerf"])
def test_pixels_are_means_of_their_rays(scene: Scene, which: int) -> None:
    model = models_of(scene)[which]
    four = render_image(model, scene.test.camera(0), rays_per_pixel=4)
    rays = camera_rays(scene.test.camera(0), per_pixel=4)
    with torch.no_grad():
        alone = model.render(Rays(rays.origins, rays.directions)).rgb
    torch.testing.assert_close(four.rgb, alone.view(18, 24, 4, 3).mean(2), atol=1e-5, rtol=0.0)


def test_networks_sample_from_the_near_plane_to_infinity() -> None:
    rays = some_rays(6)
    rays = Rays(rays.origins.float(), rays.directions.float())
    warped, lengths = to_ndc(rays, NDC)
    field = NerfField(seeded(1))
    torch.nn.init.constant_(field.density.bias, 0.2)
    model = HierarchicalModel(field, None, (0.0, 0.0, 0.0), HierarchicalSettings(0.0, 1.0, 16, 0), NDC)
    seen = model.render(rays)
    for r in range(6):
        settings = HierarchicalSettings(0.0, float(lengths[r]), 16, 0)
        plain = HierarchicalModel(field, None, (0.0, 0.0, 0.0), settings)
        alone = plain.render(Rays(warped.origins[r : r + 1], warped.directions[r : r + 1]))
        torch.testing.assert_close(seen.depth[r : r + 1], alone.depth)
        torch.testing.assert_close(seen.opacity[r : r + 1], alone.opacity)


def test_colours_depend_on_world_directions(scene: Scene) -> None:
    looked: list[torch.Tensor] = []
    model, rays = models_of(scene)[0], rays_of(scene)
    colour = model.field.colour

    def watched(features: torch.Tensor, directions: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        looked.append(directions)
        return colour(features, directions, counts)

    model.field.colour = watched
    model.render(rays)
    assert torch.equal(looked[0], rays.directions)


def test_settings_come_back_from_a_checkpoint(scene: Scene, tiny_scene_folder: Path) -> None:
    for settings in (GridModel.for_scene(scene), NerfModel.for_scene(scene, samples=9)):
        assert settings.ndc == scene.ndc is not None
        assert settings_from_dict(settings_to_dict(settings)) == settings
    plain = load_scene(tiny_scene_folder)
    for settings in (GridModel.for_scene(plain), NerfModel.for_scene(plain)):
        saved = settings_to_dict(settings)
        assert settings_from_dict(saved) == settings
        del saved["settings"]["ndc"]  # as it was before there was any
        assert settings_from_dict(saved) == settings


def test_sampling_in_disparity_is_refused(scene: Scene) -> None:
    with pytest.raises(NerfclError, match="--use-disp"):
        NerfModel.for_scene(scene, use_disp=True)


# --- what is read ---


def test_views_and_splits(folder: Path) -> None:
    loaded = load_scene(folder, FULL)
    assert loaded.name == "plants"
    assert loaded.background == (0.0, 0.0, 0.0)
    assert loaded.test.names == ("test/image000", "test/image008")
    assert loaded.val.names == ("val/image003", "val/image011")
    assert loaded.train.names == tuple(f"train/image{n:03}" for n in (1, 2, 4, 5, 6, 7, 9, 10))
    pixels = np.asarray(Image.open(folder / "images/image005.png"))
    assert np.array_equal(loaded.train.images[3].numpy(), pixels)
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


def test_transparent_pixels_become_black(folder: Path) -> None:
    pixels = np.full((36, 48, 4), 200, np.uint8)
    pixels[0, 0, 3], pixels[0, 1, 3] = 0, 255
    Image.fromarray(pixels).save(folder / "images/image000.png")
    image = load_scene(folder).test.images[0]
    assert image[0, :2].tolist() == [[0, 0, 0], [200, 200, 200]]
    assert (image[1, 1] - 200 * 200 / 255).abs().max() < 1.0


def test_cameras_around_something(tmp_path: Path) -> None:
    root = write_llff(tmp_path / "ring", ring())
    loaded = load_scene(root, (24, 18), spheric_poses=True)
    assert loaded.ndc is None
    # Radius 4 and half the width 24 at focal length 40, in units of 3 / 4 of the nearest bound.
    unit = 0.75 * NEAREST
    assert loaded.box.side == pytest.approx(2 * 4 / unit * 24 / FOCAL, rel=1e-4)
    assert loaded.box.lower == pytest.approx((-0.5 * loaded.box.side,) * 3, abs=1e-4)
    nerf = NerfModel.for_scene(loaded, use_disp=True)
    assert 0.0 < nerf.sampling.near < 4 / unit < nerf.sampling.far
    refuses(root, "--spheric-poses")


def test_spheric_poses_are_for_this_layout_only(tiny_scene_folder: Path) -> None:
    refuses(tiny_scene_folder, "--spheric-poses", str(tiny_scene_folder), spheric=True)
    refuses(Path("builtin"), "--spheric-poses", "builtin", spheric=True)


def test_fern(fern: Scene) -> None:
    assert fern.name == "fern"
    assert [len(getattr(fern, split)) for split in SPLITS] == [14, 3, 3]
    assert [len(on_side(getattr(fern, split), "right")) for split in SPLITS] == [9, 1, 1]
    assert fern.test.images.shape == (3, 94, 126, 3)
    focal = 3260.526333
    expected = torch.tensor([focal * 126 / 4032, focal * 94 / 3024, 63.0, 47.0])
    torch.testing.assert_close(fern.train.intrinsics[0], expected)
    assert fern.ndc is not None
    warped, lengths = to_ndc(rays_of(fern), fern.ndc)
    ends = warped.origins + lengths[:, None] * warped.directions
    assert torch.cat([warped.origins, ends]).abs().max() <= 1.0 + 1e-5


# --- bad input ---


def change(numbers: np.ndarray, where: tuple[int, int], value: float) -> np.ndarray:
    numbers[where] = value
    return numbers


@pytest.mark.parametrize(
    ("edit", "needle"),
    [
        (lambda rows: rows[:, :15], "(12, 15)"),
        (lambda rows: rows[0], "(17,)"),
        (lambda rows: rows[:3], "3 poses"),
        (lambda rows: rows[:10], "10 poses"),
        (lambda rows: rows[:0], "0 poses"),
        (lambda rows: rows[:, :0], "(12, 0)"),
        (lambda rows: np.where(rows > 0.0, "north", "south"), "no array of numbers"),
        (lambda rows: change(rows, (5, 3), np.nan), "row 5 has NaN"),
        (lambda rows: change(rows, (6, 0), np.inf), "row 6 has NaN or infinity"),
        (lambda rows: change(rows, (7, 14), 0.0), "row 7 has a height"),
        (lambda rows: change(rows, (8, 15), -1.0), "nearest bound"),
        (lambda rows: change(rows, (9, 1), 3.0), "row 9 has a matrix"),
        (lambda rows: change(rows, (0, 4), 90.0), "is 48x36, but"),
    ],
)
def test_bad_poses_are_refused(folder: Path, edit: Callable[[np.ndarray], np.ndarray], needle: str) -> None:
    path = folder / "poses_bounds.npy"
    np.save(path, edit(np.load(path)))
    refuses(folder, "poses_bounds.npy", needle, size=None)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"no array", b"\x93NUMPY\x01\x00\xff\xff{"])
def test_damaged_poses_are_refused(folder: Path, content: bytes) -> None:
    path = folder / "poses_bounds.npy"
    path.write_bytes(content)
    refuses(folder, str(path), "restore")


def test_truncated_poses_are_refused(folder: Path) -> None:
    path = folder / "poses_bounds.npy"
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        refuses(folder, str(path))


def test_missing_poses_are_refused(folder: Path) -> None:
    (folder / "poses_bounds.npy").unlink()
    refuses(folder, str(folder / "poses_bounds.npy"), "no such file")


def test_missing_images_are_refused(folder: Path) -> None:
    (folder / "images_2/image004.png").unlink()
    refuses(folder, str(folder / "images_2"), "11 images", "12 poses")
    load_scene(folder, FULL)
    for file in folder.glob("images*/*"):
        file.unlink()
    refuses(folder, str(folder), "images*")


@pytest.mark.parametrize("index", [0, 4])
@pytest.mark.parametrize("length", [0, 20, 300])
def test_damaged_images_are_refused(folder: Path, index: int, length: int) -> None:
    file = folder / f"images_2/image{index:03}.png"
    file.write_bytes(file.read_bytes()[:length])
    refuses(folder, str(file))


def test_images_of_another_size_or_depth_are_refused(folder: Path) -> None:
    file = folder / "images_2/image004.png"
    Image.new("RGB", (24, 19)).save(file)
    refuses(folder, str(file), "24x19", "24x18")
    Image.new("I;16", (24, 18)).save(file)
    refuses(folder, str(file), "8 bits")


def test_too_small_images_are_refused(tmp_path: Path) -> None:
    root = write_llff(tmp_path / "small", forward_facing(), {"images_4": 4})
    refuses(root, "12x9", "11", size=None)
    refuses(root, "--img-wh", size=(10, 10))


def test_cameras_without_an_upwards_are_refused(tmp_path: Path) -> None:
    upside_down = np.stack([np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0])] * 4)
    refuses(write_llff(tmp_path / "rolled", upside_down), "upwards")
