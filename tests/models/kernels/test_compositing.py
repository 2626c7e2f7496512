"""Volume rendering along rays: closed forms, properties, and the compiled twin against the plain one."""

from __future__ import annotations

import itertools
import math
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.kernels.twins import TWINS, assert_twins_agree, normal, offsets_of, uniform, values_and_gradients
from nerfcl.models.kernels import plain

COUNTS = [0, 0, 5, 1, 0, 40, 7, 300, 0]


def densities() -> Tensor:
    """Empty space, thin fog and walls."""
    total = sum(COUNTS)
    matter = torch.exp(4 * normal(total, seed=1) - 1).clamp(max=500.0)
    return torch.where(uniform(total) < 0.3, 0.0, matter)


@pytest.mark.parametrize("eps", [0.0, 1e-3, 0.2])
def test_composite_weights_twins_agree_in_values_and_gradient(eps: float) -> None:
    offsets = offsets_of(COUNTS)
    assert_twins_agree(
        lambda twin: values_and_gradients(lambda d: twin.composite_weights(d, 0.05, offsets, eps), densities())
    )


def test_accumulate_twins_agree_in_values_and_gradients() -> None:
    offsets, weights, values = offsets_of(COUNTS), uniform(sum(COUNTS), seed=1), normal(sum(COUNTS), 5, seed=2)
    assert_twins_agree(lambda twin: values_and_gradients(lambda w, v: twin.accumulate(w, v, offsets), weights, values))


@TWINS
def test_weights_by_hand(twin: ModuleType) -> None:
    # Each sample stops half, then three quarters, of the light that reaches it.
    density = torch.tensor([math.log(2.0), math.log(4.0), 0.0, math.log(2.0), math.log(2.0)])
    weights = twin.composite_weights(density, 1.0, torch.tensor([0, 4, 5]), 0.0)
    assert weights.tolist() == pytest.approx([0.5, 0.375, 0.0, 0.0625, 0.5])


@TWINS
def test_samples_behind_the_early_stop_weigh_nothing(twin: ModuleType) -> None:
    # Transmittance before the samples of the first ray: 1, 1/2, 1/4, 1/8, 1/16.
    density = torch.full((7,), math.log(2.0), requires_grad=True)
    weights = twin.composite_weights(density, 1.0, torch.tensor([0, 5, 7]), 0.2)
    assert weights.tolist() == pytest.approx([0.5, 0.25, 0.125, 0.0, 0.0, 0.5, 0.25])
    weights.sum().backward()
    assert density.grad is not None
    # The sum of a ray's weights is 1 - exp(-sum of densities): each sample that counts moves it by what passes.
    assert density.grad.tolist() == pytest.approx([0.125, 0.125, 0.125, 0.0, 0.0, 0.25, 0.25])


@TWINS
def test_accumulate_by_hand(twin: ModuleType) -> None:
    weights, values = torch.tensor([0.5, 0.25, 0.75]), torch.tensor([[1.0, 4.0], [2.0, 8.0], [3.0, 12.0]])
    total = twin.accumulate(weights, values, torch.tensor([0, 2, 2, 3]))
    assert total.tolist() == [[1.0, 4.0], [0.0, 0.0], [2.25, 9.0]]


@TWINS
@pytest.mark.parametrize(("density", "length"), [(0.0, 2.0), (0.3, 2.0), (1.7, 0.6), (50.0, 3.0)])
def test_slab_of_constant_density_has_the_opacity_of_the_closed_form(
    twin: ModuleType, density: float, length: float
) -> None:
    samples = 128
    offsets = torch.tensor([0, samples])
    weights = twin.composite_weights(torch.full((samples,), density), length / samples, offsets, 0.0)
    opacity = twin.accumulate(weights, torch.ones(samples, 1), offsets).item()
    assert opacity == pytest.approx(1.0 - math.exp(-density * length), abs=2e-6)


def test_plain_compositing_follows_finite_differences() -> None:
    offsets = offsets_of([3, 0, 4, 1])
    density = (uniform(8, seed=3) * 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda d: plain.composite_weights(d, 0.4, offsets, 0.0), (density,))
    assert (plain.composite_weights(density, 0.4, offsets, 0.55) == 0.0).any()  # the early stop does something
    assert torch.autograd.gradcheck(lambda d: plain.composite_weights(d, 0.4, offsets, 0.55), (density,))
    values = normal(8, 3, seed=4).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda d, v: plain.accumulate(plain.composite_weights(d, 0.4, offsets, 0.0), v, offsets), (density, values)
    )


@TWINS
@pytest.mark.parametrize("counts", [[], [0], [0, 0, 0]])
def test_compositing_without_samples(twin: ModuleType, counts: list[int]) -> None:
    offsets = offsets_of(counts)
    weights, to_density = values_and_gradients(lambda d: twin.composite_weights(d, 0.1, offsets, 1e-3), torch.empty(0))
    assert weights.shape == to_density.shape == (0,)
    total, to_weights, to_values = values_and_gradients(
        lambda w, v: twin.accumulate(w, v, offsets), torch.empty(0), torch.empty(0, 5)
    )
    assert torch.equal(total, torch.zeros(len(counts), 5))
    assert (to_weights.shape, to_values.shape) == ((0,), (0, 5))


rays_of_densities = st.lists(
    st.lists(st.one_of(st.just(0.0), st.floats(0.0, 60000.0, width=32)), max_size=12), min_size=1, max_size=8
)


def weights_of(twin: ModuleType, rays: list[list[float]], eps: float = 1e-3) -> list[list[float]]:
    offsets = offsets_of([len(ray) for ray in rays])
    density = torch.tensor([value for ray in rays for value in ray], dtype=torch.float32)
    weights = twin.composite_weights(density, 0.03, offsets, eps).tolist()
    return [weights[a:b] for a, b in itertools.pairwise(offsets.tolist())]


@TWINS
@given(rays_of_densities, st.sampled_from([0.0, 1e-3]))
def test_weights_are_not_negative_and_sum_to_at_most_one(twin: ModuleType, rays: list[list[float]], eps: float) -> None:
    for ray in weights_of(twin, rays, eps):
        assert all(weight >= 0.0 for weight in ray)
        assert sum(ray) <= 1.0 + 1e-6


@TWINS
@given(rays_of_densities, rays_of_densities)
def test_rays_do_not_touch_each_other(twin: ModuleType, first: list[list[float]], second: list[list[float]]) -> None:
    apart = weights_of(twin, first) + weights_of(twin, second)
    for both, alone in zip(weights_of(twin, first + second), apart, strict=True):
        assert both == pytest.approx(alone, abs=1e-6)


@TWINS
@given(st.lists(st.floats(0.0, 300.0, width=32), min_size=1, max_size=10), st.integers(1, 4))
def test_splitting_samples_keeps_their_weight(twin: ModuleType, ray: list[float], parts: int) -> None:
    offsets, fine = torch.tensor([0, len(ray)]), torch.tensor([0, len(ray) * parts])
    coarse = twin.composite_weights(torch.tensor(ray), 0.04, offsets, 0.0)
    split = twin.composite_weights(torch.tensor(ray).repeat_interleave(parts), 0.04 / parts, fine, 0.0)
    torch.testing.assert_close(split.view(-1, parts).sum(-1), coarse, atol=2e-6, rtol=1e-5)
