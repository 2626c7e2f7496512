"""Normalised device coordinates: rays warped by the formulas of the paper, and models of forward-facing scenes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.models.fields.nerf import NerfField, NerfSettings
from nerfcl.models.kernels import Samples
from nerfcl.models.rendering.hierarchical import HierarchicalModel, HierarchicalModelSettings
from nerfcl.models.rendering.model import ModelSettings, render_image
from nerfcl.models.rendering.ndc import to_ndc
from nerfcl.models.rendering.occupancy import OccupancyModel
from nerfcl.models.settings import model_settings
from nerfcl.scenes.cameras import Rays, camera_rays
from nerfcl.scenes.scene import Box, Ndc, Scene, Views
from nerfcl.serialisation import from_plain, to_plain
from nerfcl.training.optimisers import Adam
from support.pictures import noise
from support.scenes import scene_of

NDC = Ndc(1.2, 1.6, 1.0)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Four random views of 24x18 pixels that look along -z from about the origin; the cube holds what they see."""
    poses = torch.eye(4).repeat(4, 1, 1)
    poses[:, :3, 3] = 0.2 * torch.randn(4, 3, generator=seeded(5))
    images = torch.stack([torch.from_numpy(noise(18, 24, seed)) for seed in range(4)])
    intrinsics = torch.tensor([20.0, 20.0, 12.0, 9.0]).expand(4, 4)
    views = Views(images, poses, intrinsics, ("a", "b", "c", "d"))
    return Scene("forward", views, views, views, (0.0, 0.0, 0.0), Box((-1.0, -1.0, -1.0), 2.0), NDC)


def some_rays(count: int = 200) -> Rays:
    """Rays about along -z from about the origin, in float64."""
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


# --- models ---


def occupancy_model(scene: Scene) -> OccupancyModel:
    model = model_settings(scene).build(0)
    assert isinstance(model, OccupancyModel)
    return model


def hierarchical_model(scene: Scene) -> HierarchicalModel:
    model = model_settings(scene, NerfSettings(samples=12, importance=8, noise_std=0.0)).build(0)
    assert isinstance(model, HierarchicalModel)
    for network in (model.coarse, model.fine):
        assert network is not None
        torch.nn.init.constant_(network.density.bias, 0.2)  # fog: where every density is negative nothing is learned
    return model


KINDS = {"occupancy": occupancy_model, "hierarchical": hierarchical_model}


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_lowers_the_loss(scene: Scene, kind: str) -> None:
    model, views = KINDS[kind](scene), scene.train
    rays = camera_rays(views.camera(0))
    chosen = torch.randperm(len(rays), generator=seeded(1))[:128]
    rays = Rays(rays.origins[chosen], rays.directions[chosen])
    targets = views.images[0].view(-1, 3)[chosen] / 255.0

    def loss() -> Tensor:
        rendering = model.render(rays)
        coarse = 0.0 if rendering.coarse is None else (rendering.coarse - targets).square().mean()
        return (rendering.rgb - targets).square().mean() + coarse

    before = loss()
    before.backward()
    Adam(model.parameters()).step(1e-2 if kind == "occupancy" else 5e-4)
    assert loss() < before


@pytest.mark.parametrize("kind", KINDS)
def test_rays_that_do_not_point_forward_see_the_background(scene: Scene, kind: str) -> None:
    model = KINDS[kind](scene)
    model.background[:] = torch.tensor([0.2, 0.4, 0.6])
    ways = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, -1e-12], [0.6, 0.0, 0.8], [0.0, 0.0, -1.0]])
    rendering = model.render(Rays(torch.zeros(5, 3), ways), seeded(1))
    torch.testing.assert_close(rendering.rgb[:4].detach(), torch.tensor([[0.2, 0.4, 0.6]]).expand(4, 3))
    assert (rendering.opacity[:4] == 0.0).all()
    assert rendering.opacity[4] > 0.0
    rendering.rgb.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_means_of_their_rays(scene: Scene, kind: str) -> None:
    model, camera = KINDS[kind](scene), dataclasses.replace(scene.test.camera(0), width=7, height=5)
    four = render_image(model, camera, rays_per_pixel=4)
    rays = camera_rays(camera, per_pixel=4)
    with torch.no_grad():
        alone = model.render(Rays(rays.origins, rays.directions)).rgb
    torch.testing.assert_close(four.rgb, alone.view(5, 7, 4, 3).mean(2), atol=1e-5, rtol=0.0)


def test_networks_sample_from_the_near_plane_to_infinity() -> None:
    rays = some_rays(6)
    rays = Rays(rays.origins.float(), rays.directions.float())
    warped, lengths = to_ndc(rays, NDC)
    field = NerfField(seeded(1))
    torch.nn.init.constant_(field.density.bias, 0.2)

    def model(far: float, ndc: Ndc | None = None) -> HierarchicalModel:
        settings = NerfSettings(samples=16, importance=0)
        return HierarchicalModel(HierarchicalModelSettings(settings, 0.0, far, (0.0, 0.0, 0.0), ndc), field, None)

    seen = model(1.0, NDC).render(rays)
    for r in range(6):
        alone = model(float(lengths[r])).render(Rays(warped.origins[r : r + 1], warped.directions[r : r + 1]))
        torch.testing.assert_close(seen.depth[r : r + 1], alone.depth)
        torch.testing.assert_close(seen.opacity[r : r + 1], alone.opacity)


def test_colours_depend_on_world_directions(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Tensor] = []
    model, rays = occupancy_model(scene), camera_rays(scene.train.camera(0))
    integrate = model.field.integrate

    def noting(samples: Samples, directions: Tensor, early_stop_eps: float) -> Tensor:
        asked.append(directions)
        return integrate(samples, directions, early_stop_eps)

    monkeypatch.setattr(model.field, "integrate", noting)
    model.render(rays)
    assert torch.equal(asked[0], rays.directions)


@pytest.mark.parametrize("field", [None, NerfSettings(samples=9)], ids=["hashgrid", "nerf"])
def test_settings_come_back_from_plain_values(scene: Scene, field: Any) -> None:
    settings = model_settings(scene, field)
    assert to_plain(settings)["ndc"] == {"scale_x": 1.2, "scale_y": 1.6, "near": 1.0}
    assert from_plain(ModelSettings, to_plain(settings)) == settings
    settings = model_settings(scene_of(scene.train), field)
    plain = to_plain(settings)
    assert plain.pop("ndc") is None
    assert from_plain(ModelSettings, plain) == settings, "there need not be any"


def test_sampling_in_disparity_is_refused(scene: Scene) -> None:
    with pytest.raises(NerfclError, match="use_disp=True: a forward-facing scene"):
        model_settings(scene, NerfSettings(use_disp=True))
