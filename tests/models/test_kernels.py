from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nerfcl.models import kernels
from nerfcl.models.kernels import GridLevels, MarchSettings, geometric_levels
from nerfcl.models.kernels import compiled as cpu
from nerfcl.models.kernels import plain as reference

TWINS = pytest.mark.parametrize("twin", [cpu, reference], ids=["cpu", "reference"])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def offsets_of(counts: list[int]) -> Tensor:
    return torch.tensor([0, *np.cumsum(counts, dtype=np.int64).tolist()], dtype=torch.int64)


def values_and_gradients(function: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
    """What the function gives, and the gradient of a fixed weighted sum of it with respect to each input."""
    leaves = [value.clone().requires_grad_() for value in inputs]
    result = function(*leaves)
    upstream = normal(*result.shape, seed=99).to(result.dtype)
    kept = upstream.clone()
    gradients = torch.autograd.grad(result, leaves, upstream)
    assert torch.equal(upstream, kept)  # a backward pass must not write into what it was handed
    return result.detach(), *gradients


def check_twins(run: Callable[[ModuleType], tuple[Tensor, ...]], atol: float = 1e-5, rtol: float = 1e-4) -> None:
    for compiled, plain in zip(run(cpu), run(reference), strict=True):
        torch.testing.assert_close(compiled, plain, atol=atol, rtol=rtol)


# --- dispatch ---


def test_float32_on_the_cpu_is_compiled_and_everything_else_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((cpu, "cpu"), (reference, "reference")):
        monkeypatch.setattr(module, "mlp", lambda *_, name=name: name)
    assert kernels.mlp(torch.ones(2, 3), torch.ones(3, 3)) == "cpu"  # type: ignore[comparison-overlap]
    assert kernels.mlp(torch.ones(2, 3).double()) == "reference"  # type: ignore[comparison-overlap]
    assert kernels.mlp(torch.ones(2, 3, device="meta")) == "reference"  # type: ignore[comparison-overlap]


# --- march ---

CUBE = MarchSettings(lower=(0.0, 0.0, 0.0), side=1.0, step=0.25, occupied=0.5)
FULL = torch.ones(4, 4, 4)


def samples_of(offsets: Tensor) -> list[int]:
    return (offsets[1:] - offsets[:-1]).tolist()


def march_one(
    twin: ModuleType,
    origin: tuple[float, float, float],
    direction: tuple[float, float, float],
    thickness: Tensor = FULL,
    jitter: float = 0.5,
    settings: MarchSettings = CUBE,
) -> tuple[Tensor, list[float]]:
    positions, distances, offsets = twin.march(
        torch.tensor([origin]), torch.tensor([direction]), thickness, torch.tensor([jitter]), settings
    )
    assert offsets.dtype == torch.int64
    assert offsets.tolist() == [0, len(distances)]
    return positions, distances.tolist()


@TWINS
def test_march_of_an_axis_parallel_ray_by_hand(twin: ModuleType) -> None:
    positions, distances = march_one(twin, (-1.0, 0.6, 0.3), (1.0, 0.0, 0.0))
    assert distances == pytest.approx([1.125, 1.375, 1.625, 1.875])
    torch.testing.assert_close(positions, torch.tensor([[x, 0.6, 0.3] for x in (0.125, 0.375, 0.625, 0.875)]))


@TWINS
def test_march_backwards_along_an_axis_by_hand(twin: ModuleType) -> None:
    positions, distances = march_one(twin, (0.6, 0.3, 3.0), (0.0, 0.0, -1.0), jitter=0.0)
    assert distances == pytest.approx([2.0, 2.25, 2.5, 2.75])
    torch.testing.assert_close(positions[:, 2], torch.tensor([1.0, 0.75, 0.5, 0.25]))


@TWINS
def test_march_in_a_cube_that_lies_elsewhere(twin: ModuleType) -> None:
    # Side 2 from (1, 2, 3); step 0.5; the ray along y enters at y = 2 after 2 units.
    settings = MarchSettings((1.0, 2.0, 3.0), 2.0, 0.5, 0.5)
    positions, distances = march_one(twin, (1.5, 0.0, 4.5), (0.0, 1.0, 0.0), settings=settings)
    assert distances == pytest.approx([2.25, 2.75, 3.25, 3.75])
    torch.testing.assert_close(positions, torch.tensor([[0.25, y, 0.75] for y in (0.125, 0.375, 0.625, 0.875)]))


@TWINS
def test_march_from_inside_starts_at_the_camera(twin: ModuleType) -> None:
    positions, distances = march_one(twin, (0.5, 0.55, 0.3), (0.0, -1.0, 0.0))
    assert distances == pytest.approx([0.125, 0.375])
    torch.testing.assert_close(positions[:, 1], torch.tensor([0.425, 0.175]))


@TWINS
@pytest.mark.parametrize(
    ("origin", "direction"),
    [
        ((-1.0, 1.2, 0.5), (1.0, 0.0, 0.0)),  # beside the cube, parallel to its side
        ((-1.0, -0.2, 0.5), (1.0, 0.0, 0.0)),
        ((-1.0, 0.5, 0.5), (-1.0, 0.0, 0.0)),  # away from it
        ((-1.0, 0.5, 0.5), (0.6, 0.8, 0.0)),  # past it
        ((0.5, 0.5, 5.0), (0.0, 0.0, 1.0)),
    ],
)
def test_rays_that_miss_the_cube_have_no_sample(
    twin: ModuleType, origin: tuple[float, float, float], direction: tuple[float, float, float]
) -> None:
    assert march_one(twin, origin, direction)[1] == []


@TWINS
def test_march_skips_cells_below_the_limit(twin: ModuleType) -> None:
    thickness = torch.zeros(4, 4, 4)
    thickness[1, 2, 1] = 0.5  # as much as the limit: occupied
    thickness[3, 2, 1] = 0.7
    thickness[2, 2, 1] = 0.49
    thickness[0, 1, 2] = 1.0  # no cell of this ray: the axes are x, y, z
    _, distances = march_one(twin, (-1.0, 0.6, 0.3), (1.0, 0.0, 0.0), thickness)
    assert distances == pytest.approx([1.375, 1.875])


@TWINS
def test_march_without_rays_and_without_samples(twin: ModuleType) -> None:
    none = torch.empty(0, 3)
    positions, distances, offsets = twin.march(none, none, FULL, torch.empty(0), CUBE)
    assert (positions.shape, distances.shape, offsets.tolist()) == ((0, 3), (0,), [0])
    origins, directions = torch.zeros(3, 3) - 1.0, torch.tensor([[0.6, 0.0, 0.8]]).expand(3, 3).contiguous()
    positions, distances, offsets = twin.march(origins, -directions, FULL, torch.zeros(3), CUBE)
    assert (positions.shape, distances.shape, offsets.tolist()) == ((0, 3), (0,), [0, 0, 0, 0])


def clear_rays(count: int, settings: MarchSettings, cells: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random rays, some from inside, some that miss, no sample of which lies within rounding of a cell's border."""
    lower = torch.tensor(settings.lower)
    middle = lower + settings.side / 2
    origins = middle + normal(count, 3, seed=seed) * settings.side
    targets = middle + (random(count, 3, seed=seed + 1) - 0.5) * settings.side * 1.5
    directions = torch.nn.functional.normalize(targets - origins, dim=-1)
    third = count // 3
    directions[:third] = torch.eye(3)[torch.arange(third) % 3] * (1 - 2 * (torch.arange(third) % 2))[:, None]
    jitter = random(count, seed=seed + 2)

    o, d = origins.double(), directions.double()
    safe = torch.where(d == 0, torch.full_like(d, 1e-12), d)
    inner = torch.tensor(settings.limits, dtype=torch.float64)
    a, b = (inner[0] - o) / safe, (inner[1] - o) / safe
    first = torch.minimum(a, b).amax(-1).clamp(min=0) + jitter.double() * settings.step
    last = torch.maximum(a, b).amin(-1)
    along = first[:, None] + torch.arange(settings.longest).double() * settings.step
    place = (o[:, None] + along[..., None] * d[:, None] - lower) / settings.side * cells
    away = ((place - place.round()).abs() > 1e-3).all(-1) | (along > last[:, None] + settings.step)
    steps = (last - first) / settings.step
    clear = away.all(-1) & ((steps - steps.round()).abs() > 1e-3)
    assert clear.sum() > count // 4
    return origins[clear].contiguous(), directions[clear].contiguous(), jitter[clear].contiguous()


INNER = ((-1.2, -0.6, 0.25), (0.9, 1.5, 1.9))


@pytest.mark.parametrize("inner", [None, INNER])
@pytest.mark.parametrize("occupied", [0.0, 0.5, 0.9, 2.0])
def test_march_twins_agree_on_random_rays(occupied: float, inner: tuple[Any, Any] | None) -> None:
    settings = MarchSettings((-1.5, -1.0, 0.25), 2.5, 2.5 / 20, occupied, inner)
    thickness = random(8, 8, 8, seed=7)
    origins, directions, jitter = clear_rays(1500, settings, 8, seed=11)
    compiled = cpu.march(origins, directions, thickness, jitter, settings)
    plain = reference.march(origins, directions, thickness, jitter, settings)
    assert torch.equal(compiled[2], plain[2])
    counts = samples_of(plain[2])
    if occupied <= 0.9:
        assert max(counts) > (10 if occupied < 0.9 else 2)
        assert counts.count(0) > 20  # rays that miss, too
    else:
        assert sum(counts) == 0
    torch.testing.assert_close(compiled[0], plain[0], atol=1e-5, rtol=0.0)
    torch.testing.assert_close(compiled[1], plain[1], atol=1e-5, rtol=1e-6)


@TWINS
def test_full_grid_equals_no_grid(twin: ModuleType) -> None:
    origins, directions, jitter = clear_rays(300, CUBE, 4, seed=23)
    full = twin.march(origins, directions, 0.5 + random(4, 4, 4), jitter, CUBE)
    no_limit = MarchSettings(CUBE.lower, CUBE.side, CUBE.step, occupied=0.0)
    none = twin.march(origins, directions, torch.zeros(1, 1, 1), jitter, no_limit)
    assert len(full[1]) > 100
    for a, b in zip(full, none, strict=True):
        torch.testing.assert_close(a, b)


@TWINS
def test_samples_of_a_partly_empty_grid_are_those_of_a_full_one_in_occupied_cells(twin: ModuleType) -> None:
    origins, directions, jitter = clear_rays(300, CUBE, 4, seed=31)
    thickness = random(4, 4, 4, seed=5)
    positions, distances, offsets = twin.march(origins, directions, FULL, jitter, CUBE)
    x, y, z = (positions * 4).long().unbind(-1)
    kept = thickness[x, y, z] >= CUBE.occupied
    ray = torch.arange(len(origins)).repeat_interleave(offsets[1:] - offsets[:-1])
    expected_counts = torch.bincount(ray[kept], minlength=len(origins)).tolist()
    partly = twin.march(origins, directions, thickness, jitter, CUBE)
    torch.testing.assert_close(partly[0], positions[kept])
    torch.testing.assert_close(partly[1], distances[kept])
    assert samples_of(partly[2]) == expected_counts
    assert 0 < len(partly[1]) < len(distances)


@TWINS
def test_samples_lie_on_their_rays_inside_the_cube_one_step_apart(twin: ModuleType) -> None:
    settings = MarchSettings((-1.5, -1.0, 0.25), 2.5, 2.5 / 20, 0.0)
    origins, directions, jitter = clear_rays(200, settings, 4, seed=41)
    positions, distances, offsets = twin.march(origins, directions, FULL, jitter, settings)
    ray = torch.arange(len(origins)).repeat_interleave(offsets[1:] - offsets[:-1])
    world = positions * settings.side + torch.tensor(settings.lower)
    torch.testing.assert_close(world, origins[ray] + distances[:, None] * directions[ray], atol=1e-5, rtol=1e-5)
    assert positions.min() > -1e-5
    assert positions.max() < 1 + 1e-5
    gaps = (distances[1:] - distances[:-1])[ray[1:] == ray[:-1]]
    torch.testing.assert_close(gaps, torch.full_like(gaps, settings.step), atol=1e-5, rtol=0.0)


# --- encode ---

# 27, 125, 729 and 4913 vertices: the first two levels are dense, the others hashed.
LEVELS = geometric_levels(2, 16, 4, 512)


def test_geometric_levels_by_hand() -> None:
    assert LEVELS.resolutions.tolist() == [2, 4, 8, 16]
    assert LEVELS.hashed.tolist() == [False, False, True, True]
    assert LEVELS.starts.tolist() == [0, 27, 152, 664, 1176]
    assert (LEVELS.entries, LEVELS.width) == (1176, 8)
    exact = geometric_levels(7, 7, 1, 512)  # 8^3 vertices just fit
    assert (exact.hashed.tolist(), exact.entries) == ([False], 512)


def some_positions(count: int = 400) -> Tensor:
    """Points inside the unit cube, and its corners, edges and faces."""
    grid = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 3)
    return torch.cat([random(count, 3, seed=3), grid])


def test_encode_twins_agree_in_values_and_gradient() -> None:
    positions, table = some_positions(), normal(LEVELS.entries, 2, seed=4)
    check_twins(lambda twin: values_and_gradients(lambda t: twin.encode(positions, t, LEVELS), table))


def test_encode_twins_agree_on_many_odd_levels_and_over_several_blocks() -> None:
    levels = geometric_levels(3, 50, 7, 2**12)
    assert levels.hashed.any()
    assert not levels.hashed.all()
    positions, table = random(1000, 3, seed=8), normal(levels.entries, 2, seed=9)
    check_twins(lambda twin: values_and_gradients(lambda t: twin.encode(positions, t, levels), table))


@TWINS
def test_dense_levels_reproduce_a_linear_function(twin: ModuleType) -> None:
    levels = geometric_levels(2, 5, 2, 512)
    table = torch.empty(levels.entries, 2)
    for resolution, start in zip((2, 5), levels.starts, strict=False):
        for x in range(resolution + 1):
            for y in range(resolution + 1):
                for z in range(resolution + 1):
                    entry = start + (x * (resolution + 1) + y) * (resolution + 1) + z
                    table[entry] = torch.tensor([x + 10.0 * y + 100.0 * z, 1.0 - x]) / resolution
    positions = some_positions()
    x, y, z = positions.unbind(-1)
    linear = x + 10 * y + 100 * z
    expected = torch.stack([linear, 0.5 - x, linear, 0.2 - x], -1)
    torch.testing.assert_close(twin.encode(positions, table, levels), expected, atol=1e-4, rtol=1e-5)


@TWINS
def test_vertices_of_a_hashed_level_are_found_by_the_hash_of_the_paper(twin: ModuleType) -> None:
    levels = GridLevels(np.array([16], np.int32), np.array([0, 512], np.int64), np.array([True]))
    table = torch.stack([torch.arange(512.0), -torch.arange(512.0)], -1)
    vertices = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (3, 7, 11), (16, 16, 16), (15, 2, 9)]
    hashes = [((x ^ (y * 2654435761) ^ (z * 805459861)) % 2**32) % 512 for x, y, z in vertices]
    features = twin.encode(torch.tensor(vertices) / 16, table, levels)
    assert features[:, 0].tolist() == hashes
    assert len(set(hashes)) > 4


@TWINS
def test_gradient_of_a_vertex_is_the_weight_it_had(twin: ModuleType) -> None:
    # At (0.1, 0.25, 0.4) of a level of 2 cells: fractions 0.2, 0.5 and 0.8 in cell (0, 0, 0).
    levels = geometric_levels(2, 2, 1, 512)
    table = torch.zeros(27, 2, requires_grad=True)
    twin.encode(torch.tensor([[0.1, 0.25, 0.4]]), table, levels)[0, 1].backward()
    assert table.grad is not None
    expected = torch.zeros(27, 2)
    for x, wx in ((0, 0.8), (1, 0.2)):
        for y, wy in ((0, 0.5), (1, 0.5)):
            for z, wz in ((0, 0.2), (1, 0.8)):
                expected[(x * 3 + y) * 3 + z, 1] = wx * wy * wz
    torch.testing.assert_close(table.grad, expected, atol=1e-6, rtol=1e-5)


def test_encode_twin_follows_finite_differences() -> None:
    levels = geometric_levels(2, 4, 2, 64)
    assert levels.hashed.tolist() == [False, True]
    positions = random(5, 3, seed=2).double()
    table = normal(levels.entries, 2, seed=1).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: reference.encode(positions, t, levels), (table,))


@TWINS
def test_encode_of_no_points(twin: ModuleType) -> None:
    table = torch.ones(LEVELS.entries, 2, requires_grad=True)
    features = twin.encode(torch.empty(0, 3), table, LEVELS)
    assert features.shape == (0, 8)
    features.sum().backward()
    assert table.grad is not None
    assert (table.grad == 0).all()


# --- mlp ---


def weights_of(*widths: int) -> list[Tensor]:
    return [normal(a, b, seed=a * 100 + b) / math.sqrt(a) for a, b in itertools.pairwise(widths)]


@pytest.mark.parametrize("widths", [(6, 3), (6, 16, 4), (6, 16, 8, 3)])
def test_mlp_twins_agree_in_values_and_gradients(widths: tuple[int, ...]) -> None:
    inputs = normal(300, 6, seed=1)
    check_twins(lambda twin: values_and_gradients(twin.mlp, inputs, *weights_of(*widths)), atol=1e-4)


@pytest.mark.parametrize("widths", [(6, 3), (6, 16, 8, 3)])
def test_mlp_without_gradient_of_its_inputs(widths: tuple[int, ...]) -> None:
    inputs = normal(50, 6, seed=1)
    with_inputs = values_and_gradients(cpu.mlp, inputs, *weights_of(*widths))
    without = values_and_gradients(lambda *weights: cpu.mlp(inputs, *weights), *weights_of(*widths))
    for a, b in zip((with_inputs[0], *with_inputs[2:]), without, strict=True):
        torch.testing.assert_close(a, b)


@TWINS
def test_mlp_follows_torchs_own_layers(twin: ModuleType) -> None:
    weights, inputs = weights_of(6, 16, 8, 3), normal(40, 6, seed=5)
    layers: list[torch.nn.Module] = []
    for weight in weights:
        layer = torch.nn.Linear(*weight.shape, bias=False)
        layer.weight.data.copy_(weight.T)
        layers += [layer, torch.nn.ReLU()]
    torch.testing.assert_close(twin.mlp(inputs, *weights), torch.nn.Sequential(*layers[:-1])(inputs).detach())


def test_mlp_takes_slices_of_wider_arrays() -> None:
    wide = normal(30, 12, seed=6)
    check_twins(lambda twin: values_and_gradients(lambda x, w: twin.mlp(x[:, 1::2], w), wide, weights_of(6, 4)[0]))


def test_mlp_twin_follows_finite_differences() -> None:
    inputs = [value.double().requires_grad_() for value in (normal(4, 3, seed=1), *weights_of(3, 5, 2))]
    assert torch.autograd.gradcheck(reference.mlp, inputs)


@TWINS
def test_mlp_of_no_points(twin: ModuleType) -> None:
    result, *gradients = values_and_gradients(twin.mlp, torch.empty(0, 6), *weights_of(6, 16, 3))
    assert result.shape == (0, 3)
    assert [gradient.shape for gradient in gradients] == [(0, 6), (6, 16), (16, 3)]
    assert all((gradient == 0).all() for gradient in gradients)


# --- compositing ---

COUNTS = [0, 0, 5, 1, 0, 40, 7, 300, 0]


def densities(counts: list[int] = COUNTS, seed: int = 0) -> Tensor:
    """Empty space, thin fog and walls."""
    total = sum(counts)
    matter = torch.exp(4 * normal(total, seed=seed + 1) - 1).clamp(max=500.0)
    return torch.where(random(total, seed=seed) < 0.3, 0.0, matter)


@pytest.mark.parametrize("least_light", [0.0, 1e-3, 0.2])
def test_weights_twins_agree_in_values_and_gradient(least_light: float) -> None:
    offsets = offsets_of(COUNTS)
    check_twins(
        lambda twin: values_and_gradients(lambda d: twin.composite_weights(d, 0.05, offsets, least_light), densities())
    )


def test_accumulate_twins_agree_in_values_and_gradients() -> None:
    offsets, count = offsets_of(COUNTS), sum(COUNTS)
    check_twins(
        lambda twin: values_and_gradients(
            lambda w, v: twin.accumulate(w, v, offsets), random(count, seed=1), normal(count, 5, seed=2)
        )
    )


@TWINS
def test_weights_by_hand(twin: ModuleType) -> None:
    # Each sample stops half, then three quarters, of the light that reaches it.
    density = torch.tensor([math.log(2.0), math.log(4.0), 0.0, math.log(2.0), math.log(2.0)])
    weights = twin.composite_weights(density, 1.0, torch.tensor([0, 4, 5]), 0.0)
    assert weights.tolist() == pytest.approx([0.5, 0.375, 0.0, 0.0625, 0.5])


@TWINS
def test_samples_that_little_light_reaches_weigh_nothing(twin: ModuleType) -> None:
    # Light before the samples of the first ray: 1, 1/2, 1/4, 1/8, 1/16.
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


def test_compositing_twins_follow_finite_differences() -> None:
    offsets = offsets_of([3, 0, 4, 1])
    density = (random(8, seed=3) * 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda d: reference.composite_weights(d, 0.4, offsets, 0.0), (density,))
    light = reference.composite_weights(density, 0.4, offsets, 0.0)
    assert (light < 0.2).any()
    assert torch.autograd.gradcheck(lambda d: reference.composite_weights(d, 0.4, offsets, 0.45), (density,))
    values = normal(8, 3, seed=4).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda d, v: reference.accumulate(reference.composite_weights(d, 0.4, offsets, 0.0), v, offsets),
        (density, values),
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


def composite(twin: ModuleType, rays: list[list[float]], least_light: float) -> list[list[float]]:
    offsets = offsets_of([len(ray) for ray in rays])
    density = torch.tensor([value for ray in rays for value in ray], dtype=torch.float32)
    weights = twin.composite_weights(density, 0.03, offsets, least_light).tolist()
    return [weights[a:b] for a, b in itertools.pairwise(offsets.tolist())]


@TWINS
@given(rays_of_densities, st.sampled_from([0.0, 1e-3]))
def test_weights_are_not_negative_and_sum_to_at_most_one(
    twin: ModuleType, rays: list[list[float]], least_light: float
) -> None:
    for ray in composite(twin, rays, least_light):
        assert all(weight >= 0.0 for weight in ray)
        assert sum(ray) <= 1.0 + 1e-6


@TWINS
@given(rays_of_densities, st.randoms(use_true_random=False))
def test_permuting_rays_permutes_their_weights(twin: ModuleType, rays: list[list[float]], shuffler: object) -> None:
    order = list(range(len(rays)))
    shuffler.shuffle(order)  # type: ignore[attr-defined]
    straight, shuffled = composite(twin, rays, 1e-3), composite(twin, [rays[i] for i in order], 1e-3)
    for place, index in enumerate(order):
        assert shuffled[place] == pytest.approx(straight[index], abs=1e-6)


@TWINS
@given(rays_of_densities, rays_of_densities)
def test_rays_do_not_touch_each_other(twin: ModuleType, first: list[list[float]], second: list[list[float]]) -> None:
    together = composite(twin, first + second, 1e-3)
    for both, alone in zip(together, composite(twin, first, 1e-3) + composite(twin, second, 1e-3), strict=True):
        assert both == pytest.approx(alone, abs=1e-6)


@TWINS
@given(st.lists(st.floats(0.0, 300.0, width=32), min_size=1, max_size=10), st.integers(1, 4))
def test_splitting_samples_keeps_their_weight(twin: ModuleType, ray: list[float], parts: int) -> None:
    offsets, fine = torch.tensor([0, len(ray)]), torch.tensor([0, len(ray) * parts])
    coarse = twin.composite_weights(torch.tensor(ray), 0.04, offsets, 0.0)
    split = twin.composite_weights(torch.tensor(ray).repeat_interleave(parts), 0.04 / parts, fine, 0.0)
    torch.testing.assert_close(split.view(-1, parts).sum(-1), coarse, atol=2e-6, rtol=1e-5)


# --- adam ---

BETAS = (0.9, 0.99)


def adam_run(twin: ModuleType, gradients: list[Tensor], start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    parameter, mean, square = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for count, gradient in enumerate(gradients, 1):
        twin.adam(parameter, gradient, mean, square, count, 1e-2 * count, BETAS, 1e-15)
    return parameter, mean, square


@pytest.mark.parametrize("shape", [(5,), (16,), (37, 2), (9001,)])
def test_adam_twins_agree_over_several_steps(shape: tuple[int, ...]) -> None:
    gradients = [normal(*shape, seed=i) * (random(*shape, seed=50 + i) < 0.4) * 10.0 ** (i - 3) for i in range(6)]
    check_twins(lambda twin: adam_run(twin, gradients, normal(*shape, seed=9)), atol=1e-6)


@TWINS
def test_adam_is_torchs_where_all_gradients_are_nonzero(twin: ModuleType) -> None:
    gradients, start = [normal(40, 2, seed=i) for i in range(5)], normal(40, 2, seed=9)
    parameter = torch.nn.Parameter(start.clone())
    optimiser = torch.optim.Adam([parameter], betas=BETAS, eps=1e-15)
    for count, gradient in enumerate(gradients, 1):
        optimiser.param_groups[0]["lr"] = 1e-2 * count
        parameter.grad = gradient
        optimiser.step()
    mine, mean, square = adam_run(twin, gradients, start)
    torch.testing.assert_close(mine, parameter.data, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(mean, optimiser.state[parameter]["exp_avg"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(square, optimiser.state[parameter]["exp_avg_sq"], atol=1e-6, rtol=1e-5)


@TWINS
def test_entries_without_gradient_keep_value_and_moments(twin: ModuleType) -> None:
    parameter, mean, square = (random(64, seed=i) + 0.1 for i in range(3))
    before = [value.clone() for value in (parameter, mean, square)]
    gradient = normal(64, seed=4)
    gradient[::3] = 0.0
    gradient[20:45] = 0.0  # a whole block, too
    still = gradient == 0.0
    twin.adam(parameter, gradient, mean, square, 3, 0.1, BETAS, 1e-15)
    for after, old in zip((parameter, mean, square), before, strict=True):
        assert torch.equal(after[still], old[still])
        assert (after[~still] != old[~still]).all()


@TWINS
def test_first_step_of_adam_by_hand(twin: ModuleType) -> None:
    # The corrected moments are g and g^2: every entry moves by the rate, against the gradient's sign.
    parameter, mean, square = torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3), torch.zeros(3)
    twin.adam(parameter, torch.tensor([4.0, -0.001, 0.0]), mean, square, 1, 0.25, BETAS, 1e-15)
    assert parameter.tolist() == pytest.approx([0.75, 2.25, 3.0])
    assert mean.tolist() == pytest.approx([0.4, -0.0001, 0.0])
    assert square.tolist() == pytest.approx([0.16, 1e-8, 0.0])


def test_adam_stays_finite_on_gradients_that_underflow_when_squared() -> None:
    gradients = [torch.tensor([1e-30, -1e-25, 1e-20, 1e-38])] * 4
    for twin in (cpu, reference):
        assert all(torch.isfinite(part).all() for part in adam_run(twin, gradients, torch.ones(4)))


@TWINS
def test_adam_of_a_parameter_without_entries(twin: ModuleType) -> None:
    assert adam_run(twin, [torch.empty(0)], torch.empty(0))[0].shape == (0,)


def test_adam_takes_parameters_that_require_gradients() -> None:
    parameter = torch.nn.Parameter(torch.ones(20, 2))
    kernels.adam(parameter, torch.ones(2, 20).T, torch.zeros(20, 2), torch.zeros(20, 2), 1, 0.5, BETAS, 1e-15)
    torch.testing.assert_close(parameter.data, torch.full((20, 2), 0.5))
