"""A small distribution of cameras, against the moments of those that it was fitted to."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nerfcl.memory.pose_mixture import PoseMixture
from nerfcl.randomness import seeded
from nerfcl.scenes.scene import Views


def dome(count: int, seed: int = 0, size: tuple[int, int] = (8, 6)) -> Views:
    """Cameras on the right half of a dome of radius 4 around the origin, which they look at."""
    rng = np.random.default_rng(seed)
    azimuth, height = rng.uniform(-math.pi / 2, math.pi / 2, count), rng.uniform(0.2, 0.9, count)
    flat = np.sqrt(1.0 - height**2)
    back = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), height], -1)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3] = np.stack([right, np.cross(back, right), back, 4.0 * back], -1)
    images = torch.zeros(count, size[1], size[0], 3, dtype=torch.uint8)
    lens = torch.tensor([10.0, 11.0, 4.0, 3.0]).repeat(count, 1)
    return Views(images, torch.from_numpy(poses).float(), lens, ("",) * count)


def numbers_of(views: Views) -> np.ndarray:
    return torch.cat([views.poses[:, :3, 3], -views.poses[:, :3, 2], views.poses[:, :3, 1]], 1).double().numpy()


@pytest.mark.parametrize("components", [1, 3, 8])
def test_merging_keeps_mean_and_covariance_of_all_cameras(components: int) -> None:
    parts = [dome(30, 0), dome(1, 1), dome(25, 2)]
    mixture = PoseMixture(components)
    for part in parts:
        mixture.add(part)
    seen = np.concatenate([numbers_of(part) for part in parts])
    weights, means = mixture.weights.double().numpy(), mixture.means.double().numpy()
    assert len(weights) == components
    assert len(mixture) == 56
    mean = np.average(means, axis=0, weights=weights)
    np.testing.assert_allclose(mean, seen.mean(0), atol=1e-5)
    apart = means - mean
    within = np.average(mixture.covariances.double().numpy(), axis=0, weights=weights)
    between = np.einsum("k,ki,kj->ij", weights / weights.sum(), apart, apart)
    np.testing.assert_allclose(within + between, np.cov(seen.T, bias=True), atol=1e-4)


def test_few_cameras_are_drawn_as_they_were() -> None:
    views = dome(3)
    mixture = PoseMixture()
    mixture.add(views)
    drawn = mixture.sample_poses(50, seeded(0, "draw"))
    nearest = (drawn[:, None] - views.poses).abs().amax((2, 3)).amin(1)
    assert nearest.max() < 1e-3


def test_what_is_drawn_are_cameras_near_those_seen_that_look_where_they_looked() -> None:
    mixture = PoseMixture()
    mixture.add(dome(200))
    poses = mixture.sample_poses(500, seeded(0, "draw"))
    turns, places = poses[:, :3, :3], poses[:, :3, 3]
    torch.testing.assert_close(turns @ turns.transpose(1, 2), torch.eye(3).expand(500, 3, 3), atol=1e-5, rtol=0)
    assert (torch.linalg.det(turns) > 0.0).all()
    assert ((places.norm(dim=1) - 4.0).abs() < 1.0).float().mean() > 0.95
    assert (places[:, 0] > -0.7).float().mean() > 0.95
    towards = (-places / places.norm(dim=1, keepdim=True) * -poses[:, :3, 2]).sum(1)
    assert (towards > math.cos(math.radians(12))).float().mean() > 0.95
    assert (poses[:, 2, 1] > 0.0).all(), "up stays up"


def test_its_bytes_do_not_grow_with_the_cameras() -> None:
    mixture = PoseMixture()
    mixture.add(dome(20))
    size = mixture.nbytes
    mixture.add(dome(100, 1))
    assert mixture.nbytes == size == 4 * (8 * 55 + 6)


def test_pixels_have_the_mean_intrinsics_and_lie_in_the_image() -> None:
    mixture = PoseMixture()
    mixture.add(dome(5))
    pixels = mixture.sample_pixels(300, seeded(0, "draw"))
    assert pixels.new == 0
    assert pixels.columns.unique().tolist() == list(range(8))
    assert pixels.rows.unique().tolist() == list(range(6))
    torch.testing.assert_close(pixels.intrinsics, torch.tensor([10.0, 11.0, 4.0, 3.0]).expand(300, 4))


def test_a_saved_mixture_goes_on_exactly() -> None:
    mixture, twin = PoseMixture(), PoseMixture()
    mixture.add(dome(30))
    twin.load_state_dict(mixture.state_dict())
    for each in (mixture, twin):
        each.add(dome(10, 3))
    assert torch.equal(mixture.sample_poses(20, seeded(0, "a")), twin.sample_poses(20, seeded(0, "a")))
