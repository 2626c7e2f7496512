"""The hash grid along rays in blocks on the CPU, against the same in plain torch and double precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.kernels.twins import normal, uniform
from nerfcl.models.fields.field import Field
from nerfcl.models.fields.hash_grid import HashGridField, HashGridSettings
from nerfcl.models.kernels import Samples
from nerfcl.models.kernels.compiled import grid_rendering
from nerfcl.models.kernels.gradients import touched_of

SETTINGS = HashGridSettings(
    base_resolution=3, max_resolution=20, levels=3, table_size=2**10, width=12, geometry_features=5
)


@pytest.fixture(params=[7, 100, 4096])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Samples in a block: a ray at a time, a few, and all at once."""
    monkeypatch.setattr(grid_rendering, "_SAMPLES_A_BLOCK", request.param)
    return request.param


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def field_of(seed: int = 0, largest: float = 1.0, features: int = 4) -> HashGridField:
    """A field with much structure, from nearly nothing to opaque."""
    field = replace(SETTINGS, features_per_level=features).build(torch.Generator().manual_seed(seed))
    with torch.no_grad():
        field.table.mul_(100.0)
        field.density_network[-1].mul_(4.0 * largest)
    return field


def samples_of(counts: list[int], seed: int = 0) -> tuple[Samples, Tensor]:
    """Samples anywhere in the cube, and the rays' directions."""
    total = sum(counts)
    offsets = torch.tensor([0, *torch.tensor(counts).cumsum(0).tolist()])
    samples = Samples(
        uniform(total, 3, seed=seed), uniform(total, seed=seed + 1) * 4, uniform(total, seed=seed + 2), offsets
    )
    return samples, torch.nn.functional.normalize(normal(len(counts), 3, seed=seed + 3), dim=-1)


def to_double(samples: Samples) -> Samples:
    return Samples(samples.positions.double(), samples.distances.double(), samples.lengths.double(), samples.offsets)


COUNTS = [0, 3, 1, 0, 0, 12, 40, 5, 0, 17, 8, 8, 9, 1, 0]


@pytest.mark.parametrize("eps", [0.0, 1e-3, 0.3])
@pytest.mark.parametrize("largest", [1.0, 6.0], ids=["fog and walls", "densities beyond the largest"])
@pytest.mark.parametrize("features", [2, 4])
def test_values_and_gradients_are_those_of_plain_torch(
    block: int, threads: int, eps: float, largest: float, features: int
) -> None:
    del block, threads
    field, twin = field_of(largest=largest, features=features), field_of(largest=largest, features=features).double()
    samples, directions = samples_of(COUNTS)
    upstream = normal(len(COUNTS), 5, seed=8)
    kept = upstream.clone()
    ours = field.integrate(samples, directions, eps)
    theirs = Field.integrate(twin, to_double(samples), directions.double(), eps)
    torch.testing.assert_close(ours.double(), theirs, atol=2e-5, rtol=2e-5)
    assert (ours[torch.tensor(COUNTS) == 0] == 0).all()
    ours.backward(upstream)
    theirs.backward(upstream.double())
    assert torch.equal(upstream, kept)  # a backward pass must not write into what it was handed
    for (name, one), other in zip(field.named_parameters(), twin.parameters(), strict=True):
        assert one.grad is not None, name
        assert other.grad is not None
        scale = float(other.grad.abs().max())
        assert scale > 0.0
        torch.testing.assert_close(
            one.grad.double() / scale,
            other.grad / scale,
            atol=2e-5,
            rtol=1e-3,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def test_the_number_of_threads_changes_no_bit() -> None:
    samples, directions = samples_of([30] * 700)
    results = []
    before = torch.get_num_threads()
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        field = field_of()
        total = field.integrate(samples, directions, 1e-3)
        total.square().sum().backward()
        results.append([total.detach(), *(p.grad for p in field.parameters() if p.grad is not None)])
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_exactly_the_entries_with_a_gradient_are_marked() -> None:
    field = field_of()
    samples, directions = samples_of([4, 4])
    field.integrate(samples, directions, 0.0).sum().backward()
    assert field.table.grad is not None
    touched = touched_of(field.table.grad)
    assert touched is not None
    numbers = torch.nn.functional.pad(field.table.grad.view(-1), (0, -field.table.numel() % 16)).view(-1, 16)
    assert torch.equal(torch.from_numpy(touched.marks) != 0, (numbers != 0).any(-1))


def test_rendering_without_gradients_is_the_same_and_keeps_nothing() -> None:
    field = field_of()
    samples, directions = samples_of(COUNTS)
    expected = field.integrate(samples, directions, 1e-3)
    with torch.no_grad():
        total = field.integrate(samples, directions, 1e-3)
    assert torch.equal(total, expected.detach())
    assert not total.requires_grad


def test_two_graphs_at_once_do_not_share_memory() -> None:
    field = field_of()
    alone = []
    for seed in (0, 20):
        total = field.integrate(*samples_of(COUNTS, seed), 0.0)
        total.sum().backward()
        assert field.table.grad is not None
        alone.append(field.table.grad.clone())
        field.table.grad = None
    first, second = (field.integrate(*samples_of(COUNTS, seed), 0.0) for seed in (0, 20))
    second.sum().backward()
    assert field.table.grad is not None
    assert torch.equal(field.table.grad, alone[1])
    first.sum().backward()
    torch.testing.assert_close(field.table.grad, alone[0] + alone[1])


def test_a_graph_that_is_kept_serves_several_backward_passes() -> None:
    field = field_of()
    total = field.integrate(*samples_of(COUNTS), 0.0).sum()
    found = [torch.autograd.grad(total, list(field.parameters()), retain_graph=True) for _ in range(3)]
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_densities_without_gradients_are_those_with(count: int) -> None:
    field, positions = field_of(), uniform(count, 3, seed=6)
    with torch.no_grad():
        alone = field.get_density(positions)
    for one, other in zip(alone, field.get_density(positions), strict=True):
        torch.testing.assert_close(one, other.detach(), atol=1e-4, rtol=1e-4)
        assert not one.requires_grad
