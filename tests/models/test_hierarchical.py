"""The reference network and its rendering, against step-by-step formulas and statistics."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.models.fields.nerf import NerfField, NerfSettings
from nerfcl.models.rendering.hierarchical import HierarchicalModel, HierarchicalModelSettings, sample_pdf
from nerfcl.scenes.cameras import Rays
from nerfcl.training.optimisers import Adam


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_rays(count: int, per_pixel: int = 1) -> Rays:
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=seeded(1)), dim=-1)
    return Rays(-4.0 * directions + 0.3 * torch.randn(count, 3, generator=seeded(2)), directions, per_pixel)


def model_of(**changes: Any) -> HierarchicalModel:
    field = NerfSettings(**{"samples": 8, "importance": 6, "noise_std": 0.0, **changes})
    coarse, fine = NerfField(seeded(3)), NerfField(seeded(4))
    for network in (coarse, fine):
        torch.nn.init.constant_(network.density.bias, 0.2)  # fog: where every density is negative nothing is learned
    return HierarchicalModel(HierarchicalModelSettings(field, 2.0, 6.0, background=(1.0, 1.0, 1.0)), coarse, fine)


def by_hand(field: NerfField, position: np.ndarray, direction: np.ndarray) -> tuple[float, np.ndarray]:
    """The network's formulas in float64, one point at a time."""

    def linear(layer: torch.nn.Module, x: np.ndarray) -> np.ndarray:
        assert isinstance(layer, torch.nn.Linear)
        return layer.weight.detach().double().numpy() @ x + layer.bias.detach().double().numpy()

    def waves(x: np.ndarray, frequencies: int) -> np.ndarray:
        parts = [x]
        for k in range(frequencies):
            parts += [np.sin(2.0**k * x), np.cos(2.0**k * x)]
        return np.concatenate(parts)

    hidden = embedded = waves(position, 10)
    for index, layer in enumerate(field.layers):
        if index == 4:
            hidden = np.concatenate([embedded, hidden])
        hidden = np.maximum(linear(layer, hidden), 0.0)
    density = float(linear(field.density, hidden)[0])
    branch = np.concatenate([linear(field.features, hidden), waves(direction, 4)])
    colour = linear(field.colour, np.maximum(linear(field.branch, branch), 0.0))
    return density, 1.0 / (1.0 + np.exp(-colour))


def test_network_is_its_formulas() -> None:
    field = NerfField(seeded(5))
    positions = torch.randn(4, 3, generator=seeded(6))
    directions = torch.nn.functional.normalize(torch.randn(4, 3, generator=seeded(7)), dim=-1)
    density, colour = field(positions, directions)
    expected = [by_hand(field, positions[n].double().numpy(), directions[n].double().numpy()) for n in range(4)]
    for n in range(4):
        assert density[n].item() == pytest.approx(expected[n][0], abs=1e-4)
        np.testing.assert_allclose(colour[n].detach().numpy(), expected[n][1], atol=1e-4)
    assert sum(parameter.numel() for parameter in field.parameters()) == 595_844  # as counted in the paper's code


def test_network_is_a_field_whose_density_is_clipped_at_zero() -> None:
    network = NerfField(seeded(5))
    positions = torch.randn(6, 3, generator=seeded(6))
    directions = torch.nn.functional.normalize(torch.randn(3, 3, generator=seeded(7)), dim=-1)
    owners = torch.tensor([0, 0, 2, 2, 2, 2])  # each point's direction
    raw, expected = network(positions, directions[owners])
    torch.nn.init.constant_(network.density.bias, network.density.bias.item() - raw.mean().item())
    density, features = network.get_density(positions)
    assert 0 < (density == 0.0).sum() < 6
    torch.testing.assert_close(density, (raw - raw.mean()).clamp(min=0.0))
    torch.testing.assert_close(network.get_colour(features, directions, torch.tensor([2, 0, 4])), expected)


def composited(field: NerfField, ray: Rays, depths: list[float]) -> tuple[np.ndarray, list[float]]:
    """Colour on white and weights of one ray, term by term."""
    origin, direction = ray.origins[0].double().numpy(), ray.directions[0].double().numpy()
    transmittance, colour, weights = 1.0, np.zeros(3), []
    for i, depth in enumerate(depths):
        length = depths[i + 1] - depth if i + 1 < len(depths) else 1e10
        density, rgb = by_hand(field, origin + depth * direction, direction)
        alpha = 1.0 - math.exp(-max(density, 0.0) * length)
        weights.append(transmittance * alpha)
        colour += weights[-1] * rgb
        transmittance *= 1.0 - alpha
    return colour + (1.0 - sum(weights)), weights


@pytest.mark.parametrize("use_disp", [False, True])
def test_rendering_is_its_formulas(use_disp: bool) -> None:
    model, rays = model_of(use_disp=use_disp), some_rays(3)
    rendering = model.render(rays)
    assert rendering.coarse is not None
    assert rendering.samples == 3 * (8 + 14)
    for r in range(3):
        ray = Rays(rays.origins[r : r + 1], rays.directions[r : r + 1])
        depths = 1.0 / np.linspace(1.0 / 2.0, 1.0 / 6.0, 8) if use_disp else np.linspace(2.0, 6.0, 8)
        coarse, weights = composited(model.coarse, ray, depths.tolist())
        np.testing.assert_allclose(rendering.coarse[r].detach().numpy(), coarse, atol=2e-4)
        pieces = np.array(weights[1:-1]) + 1e-5
        cdf = np.concatenate([[0.0], np.cumsum(pieces / pieces.sum())])
        middles = 0.5 * (depths[1:] + depths[:-1])
        more = np.interp(np.linspace(0.0, 1.0, 6), cdf, middles)
        assert model.fine is not None
        fine, weights = composited(model.fine, ray, sorted([*depths.tolist(), *more.tolist()]))
        np.testing.assert_allclose(rendering.rgb[r].detach().numpy(), fine, atol=5e-4)
        assert rendering.opacity[r].item() == pytest.approx(sum(weights), abs=1e-4)


def test_without_importance_samples_there_is_only_the_coarse_network() -> None:
    both = HierarchicalModelSettings(NerfSettings(samples=8, importance=6), 2.0, 6.0, (1.0, 1.0, 1.0))
    alone = dataclasses.replace(both, field=NerfSettings(samples=8, importance=0)).build(3)
    with torch.no_grad():
        rendering = alone.render(some_rays(5))
        coarse = both.build(3).render(some_rays(5)).coarse
    assert coarse is not None
    assert torch.equal(rendering.rgb, coarse)
    assert (alone.fine, rendering.coarse, rendering.samples) == (None, None, 5 * 8)


def test_importance_samples_follow_the_cumulative_distribution() -> None:
    edges, weights = torch.tensor([[0.0, 1.0, 3.0, 4.0]]), torch.tensor([[0.2, 0.0, 0.6]])
    drawn = sample_pdf(edges.expand(200, 4), weights.expand(200, 3), 50, seeded(8)).flatten()
    for at, fraction in ((0.5, 0.125), (1.0, 0.25), (3.0, 0.25), (3.5, 0.625), (4.0, 1.0)):
        # 10,000 draws: three standard deviations are under 0.015
        assert (drawn <= at + 1e-4).float().mean().item() == pytest.approx(fraction, abs=0.015)


def test_coarse_samples_are_stratified_when_training() -> None:
    model = model_of()
    drawn = model._coarse_distances(500, seeded(9))
    even = torch.linspace(2.0, 6.0, 8)
    middles = 0.5 * (even[1:] + even[:-1])
    low, high = torch.cat([even[:1], middles]), torch.cat([middles, even[-1:]])
    assert ((drawn >= low - 1e-6) & (drawn <= high + 1e-6)).all()
    torch.testing.assert_close(drawn.mean(0), 0.5 * (low + high), atol=0.03, rtol=0.0)
    torch.testing.assert_close(model._coarse_distances(2, None), even.expand(2, -1))
    half = model_of(perturb=0.5)._coarse_distances(500, seeded(9))
    assert ((half >= low - 1e-6) & (half <= 0.5 * (low + high) + 1e-6)).all()


def test_noise_moves_densities_in_training_only() -> None:
    rays = some_rays(5)
    quiet, noisy = model_of(), model_of(noise_std=5.0)
    assert torch.equal(quiet.render(rays).rgb, noisy.render(rays).rgb)
    assert not torch.allclose(quiet.render(rays, seeded(1)).rgb, noisy.render(rays, seeded(1)).rgb, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("samples", 2, "must be at least 3"),
        ("importance", -1, "must not be negative"),
        ("chunk", 0, "must lie between 1 and 16777216"),
    ],
)
def test_settings_that_cannot_work_are_refused(name: str, value: Any, why: str) -> None:
    with pytest.raises(NerfclError, match=f"^{name}={value}: {why}$"):
        NerfSettings(**{name: value})


@pytest.mark.parametrize("chunk", [1, 50, 10_000])
@pytest.mark.parametrize("per_pixel", [1, 4])
def test_chunks_change_nothing_and_pixels_are_means(chunk: int, per_pixel: int) -> None:
    model, small = model_of(), model_of(chunk=chunk)
    whole = model.render(some_rays(8, per_pixel))
    with torch.no_grad():
        parts = small.render(some_rays(8, per_pixel))
        single = small.render(some_rays(8))
    for name in ("rgb", "depth", "opacity", "coarse"):
        a, b, alone = (getattr(rendering, name) for rendering in (whole, parts, single))
        torch.testing.assert_close(a.detach(), b, atol=1e-5, rtol=1e-4)
        means: Tensor = torch.stack([group.mean(0) for group in alone.split(per_pixel)])
        torch.testing.assert_close(b, means, atol=1e-5, rtol=1e-4)


def test_one_step_lowers_the_loss_of_both_networks() -> None:
    model, rays = model_of(), some_rays(64)
    targets = torch.rand(64, 3, generator=seeded(10))

    def losses() -> tuple[Tensor, Tensor]:
        rendering = model.render(rays)
        assert rendering.coarse is not None
        return (rendering.rgb - targets).square().mean(), (rendering.coarse - targets).square().mean()

    fine, coarse = losses()
    (fine + coarse).backward()
    Adam(model.parameters()).step(5e-4)
    after = losses()
    assert after[0] < fine
    assert after[1] < coarse


def test_a_snapshot_stays_as_it_is() -> None:
    model, rays = model_of(), some_rays(4)
    snapshot = model.snapshot()
    before = snapshot.render(rays).rgb
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    assert torch.equal(snapshot.render(rays).rgb, before)
    assert not any(parameter.requires_grad for parameter in snapshot.parameters())
