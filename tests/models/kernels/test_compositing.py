"""Volume rendering along rays: closed forms, properties and finite differences."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.kernels.twins import normal, offsets_of, uniform, values_and_gradients
from nerfcl.models.kernels import plain


def test_weights_by_hand() -> None:
    # Each sample stops half, then three quarters, of the light that reaches it.
    density = torch.tensor([math.log(2.0), math.log(4.0), 0.0, math.log(2.0), math.log(2.0)])
    weights = plain.composite_weights(density, torch.tensor([0, 4, 5]), 0.0)
    assert weights.tolist() == pytest.approx([0.5, 0.375, 0.0, 0.0625, 0.5])


def test_samples_behind_the_early_stop_weigh_nothing() -> None:
    # Transmittance before the samples of the first ray: 1, 1/2, 1/4, 1/8, 1/16.
    density = torch.full((7,), math.log(2.0), requires_grad=True)
    weights = plain.composite_weights(density, torch.tensor([0, 5, 7]), 0.2)
    assert weights.tolist() == pytest.approx([0.5, 0.25, 0.125, 0.0, 0.0, 0.5, 0.25])
    weights.sum().backward()
    assert density.grad is not None
    # The sum of a ray's weights is 1 - exp(-sum of densities): each sample that counts moves it by what passes.
    assert density.grad.tolist() == pytest.approx([0.125, 0.125, 0.125, 0.0, 0.0, 0.25, 0.25])


def test_accumulate_by_hand() -> None:
    weights, values = torch.tensor([0.5, 0.25, 0.75]), torch.tensor([[1.0, 4.0], [2.0, 8.0], [3.0, 12.0]])
    total = plain.accumulate(weights, values, torch.tensor([0, 2, 2, 3]))
    assert total.tolist() == [[1.0, 4.0], [0.0, 0.0], [2.25, 9.0]]


@pytest.mark.parametrize(("density", "length"), [(0.0, 2.0), (0.3, 2.0), (1.7, 0.6), (50.0, 3.0)])
def test_slab_of_constant_density_has_the_opacity_of_the_closed_form(density: float, length: float) -> None:
    samples = 128
    offsets = torch.tensor([0, samples])
    weights = plain.composite_weights(torch.full((samples,), density * length / samples), offsets, 0.0)
    opacity = plain.accumulate(weights, torch.ones(samples, 1), offsets).item()
    assert opacity == pytest.approx(1.0 - math.exp(-density * length), abs=2e-6)


def test_plain_compositing_follows_finite_differences() -> None:
    offsets = offsets_of([3, 0, 4, 1])
    density = (uniform(8, seed=3) * 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda d: plain.composite_weights(d * 0.4, offsets, 0.0), (density,))
    assert (plain.composite_weights(density * 0.4, offsets, 0.55) == 0.0).any()  # the early stop does something
    assert torch.autograd.gradcheck(lambda d: plain.composite_weights(d * 0.4, offsets, 0.55), (density,))
    values = normal(8, 3, seed=4).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda d, v: plain.accumulate(plain.composite_weights(d * 0.4, offsets, 0.0), v, offsets), (density, values)
    )


@pytest.mark.parametrize("counts", [[], [0], [0, 0, 0]])
def test_compositing_without_samples(counts: list[int]) -> None:
    offsets = offsets_of(counts)
    weights, to_density = values_and_gradients(
        lambda d: plain.composite_weights(d * 0.1, offsets, 1e-3), torch.empty(0)
    )
    assert weights.shape == to_density.shape == (0,)
    total, to_weights, to_values = values_and_gradients(
        lambda w, v: plain.accumulate(w, v, offsets), torch.empty(0), torch.empty(0, 5)
    )
    assert torch.equal(total, torch.zeros(len(counts), 5))
    assert (to_weights.shape, to_values.shape) == ((0,), (0, 5))


rays_of_densities = st.lists(
    st.lists(st.one_of(st.just(0.0), st.floats(0.0, 60000.0, width=32)), max_size=12), min_size=1, max_size=8
)


def weights_of(rays: list[list[float]], eps: float = 1e-3) -> list[list[float]]:
    offsets = offsets_of([len(ray) for ray in rays])
    density = torch.tensor([value for ray in rays for value in ray], dtype=torch.float32)
    weights = plain.composite_weights(density * 0.03, offsets, eps).tolist()
    return [weights[a:b] for a, b in itertools.pairwise(offsets.tolist())]


@given(rays_of_densities, st.sampled_from([0.0, 1e-3]))
def test_weights_are_not_negative_and_sum_to_at_most_one(rays: list[list[float]], eps: float) -> None:
    for ray in weights_of(rays, eps):
        assert all(weight >= 0.0 for weight in ray)
        assert sum(ray) <= 1.0 + 1e-6


@given(rays_of_densities, rays_of_densities)
def test_rays_do_not_touch_each_other(first: list[list[float]], second: list[list[float]]) -> None:
    apart = weights_of(first) + weights_of(second)
    for both, alone in zip(weights_of(first + second), apart, strict=True):
        assert both == pytest.approx(alone, abs=1e-6)


@given(st.lists(st.floats(0.0, 300.0, width=32), min_size=1, max_size=10), st.integers(1, 4))
def test_splitting_samples_keeps_their_weight(ray: list[float], parts: int) -> None:
    offsets, fine = torch.tensor([0, len(ray)]), torch.tensor([0, len(ray) * parts])
    coarse = plain.composite_weights(torch.tensor(ray) * 0.04, offsets, 0.0)
    split = plain.composite_weights(torch.tensor(ray).repeat_interleave(parts) * 0.04 / parts, fine, 0.0)
    torch.testing.assert_close(split.view(-1, parts).sum(-1), coarse, atol=2e-6, rtol=1e-5)
