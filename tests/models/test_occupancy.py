"""Fields rendered through an occupancy grid: closed forms, properties, finite differences, and what is skipped."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from nerfcl.models.fields.field import Field, FieldSettings
from nerfcl.models.fields.hash_grid import HashGridField, HashGridSettings
from nerfcl.models.rendering.model import Rendering
from nerfcl.models.rendering.occupancy import WHITE, OccupancyModel, OccupancyModelSettings, OccupancySettings
from nerfcl.scenes.cameras import Rays
from nerfcl.scenes.scene import Box, Colour

BOX = Box((-1.0, -1.0, -1.0), 2.0)

Density = Callable[[Tensor], Tensor]


def settled(**changes: Any) -> OccupancySettings:
    """Settings that sample every step in occupied cells, evenly."""
    return OccupancySettings(**{"uniform": 1.0, "samples": 4096, **changes})


EVERYTHING_SEEN = settled(cells=8, steps=32, early_stop_eps=0.0)


@dataclass(frozen=True)
class FogSettings(FieldSettings):
    """Density as a function of the place in the unit cube; the colour is one, or with None the ray's direction."""

    density: Density
    colour: Colour | None

    def build(self, generator: torch.Generator) -> Fog:
        return Fog(self)


class Fog(Field):
    def __init__(self, settings: FogSettings) -> None:
        super().__init__()
        self.density, self.colour = settings.density, settings.colour

    def get_density(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self.density(positions), positions

    def get_colour(self, features: Tensor, directions: Tensor, counts: Tensor) -> Tensor:
        if self.colour is None:
            return directions.abs().repeat_interleave(counts, 0)
        return torch.tensor(self.colour).expand(len(features), 3)


def fog_model(
    density: float | Density,
    colour: Colour | None = (0.2, 0.4, 0.6),
    settings: OccupancySettings = EVERYTHING_SEEN,
    background: Colour = WHITE,
    box: Box = BOX,
) -> OccupancyModel:
    function = density if callable(density) else lambda positions: torch.full_like(positions[:, 0], density)
    return OccupancyModelSettings(FogSettings(function, colour), box, background, settings).build(0)


def grid_model(seed: int = 0, settings: OccupancySettings = EVERYTHING_SEEN, walls: bool = False) -> OccupancyModel:
    """A random field with much structure; with walls it goes from nearly nothing to opaque."""
    field = HashGridSettings(
        base_resolution=2, max_resolution=6, levels=2, table_size=128, width=8, geometry_features=4
    )
    model = OccupancyModelSettings(field, BOX, (0.9, 0.5, 0.1), settings).build(seed)
    grid = cast("HashGridField", model.field)
    with torch.no_grad():
        grid.table.mul_(100.0)
        grid.density_network[-1].mul_(20.0 if walls else 1.0)
    return model


def random_rays(count: int, per_pixel: int = 1) -> Rays:
    """Rays from around the box, some of which miss it."""
    generator = torch.Generator().manual_seed(0)
    origins = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1) * 3
    targets = (torch.rand(count, 3, generator=generator) - 0.5) * 3.2
    return Rays(origins, torch.nn.functional.normalize(targets - origins, dim=-1), per_pixel)


def to_double(rays: Rays) -> Rays:
    return Rays(rays.origins.double(), rays.directions.double(), rays.per_pixel)


def update(model: OccupancyModel, times: int, first: int = 0) -> None:
    """Begin so many training steps that the model updates its occupancy grid `times` times."""
    every = model.sampling.update_every
    for step in range(first * every, (first + times) * every):
        model.begin_step(torch.Generator().manual_seed(step))


def assert_same(a: Rendering, b: Rendering, atol: float = 1e-6) -> None:
    for part in ("rgb", "depth", "opacity"):
        torch.testing.assert_close(getattr(a, part), getattr(b, part), atol=atol, rtol=1e-5)


ALONG_X = Rays(torch.tensor([[-2.0, 0.3, 0.1]]), torch.tensor([[1.0, 0.0, 0.0]]))


@pytest.mark.parametrize("density", [0.1, 1.5, 40.0])
def test_constant_fog_has_the_closed_form(density: float) -> None:
    # 2 units of fog, 1 unit away.
    settings = settled(cells=4, steps=512, early_stop_eps=0.0)
    rendering = fog_model(density, settings=settings, background=(1.0, 0.5, 0.0)).render(ALONG_X)
    opacity = 1.0 - math.exp(-2.0 * density)
    passed = 1.0 - opacity
    assert rendering.opacity.item() == pytest.approx(opacity, abs=1e-5)
    expected = [0.2 * opacity + passed, 0.4 * opacity + 0.5 * passed, 0.6 * opacity]
    assert rendering.rgb[0].tolist() == pytest.approx(expected, abs=1e-5)
    depth = opacity + 1.0 / density - passed * (2.0 + 1.0 / density)  # the integral of t over where light stops
    assert rendering.depth.item() == pytest.approx(depth, abs=1e-3)
    assert rendering.samples == 512


def test_world_units_are_those_of_the_box() -> None:
    # The same fog per unit of length in a box of side 6 from (10, 20, 30) on.
    model = fog_model(0.25, box=Box((10.0, 20.0, 30.0), 6.0))
    rays = Rays(torch.tensor([[12.0, 19.0, 31.0]]), torch.tensor([[0.0, 1.0, 0.0]]))
    assert model.render(rays).opacity.item() == pytest.approx(1.0 - math.exp(-0.25 * 6.0), abs=1e-5)


def test_rays_that_miss_see_the_background_only() -> None:
    rays = Rays(torch.tensor([[-2.0, 3.0, 0.0], [-2.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]))
    for model in (fog_model(5.0, background=(0.9, 0.5, 0.1)), grid_model()):
        rendering = model.render(rays)
        torch.testing.assert_close(rendering.rgb, torch.tensor([[0.9, 0.5, 0.1]]).expand(2, 3))
        assert rendering.opacity.tolist() == rendering.depth.tolist() == [0.0, 0.0]
        assert rendering.samples == 0


def test_training_on_rays_that_all_miss_changes_nothing_and_does_not_fail() -> None:
    model = grid_model()
    rays = Rays(torch.tensor([[-2.0, 3.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    model.render(rays).rgb.sum().backward()
    assert all(parameter.grad is None or (parameter.grad == 0).all() for parameter in model.parameters())


def test_opacity_and_colour_stay_in_their_range() -> None:
    rendering = grid_model(walls=True).render(random_rays(500), torch.Generator().manual_seed(1))
    assert rendering.opacity.min() >= 0.0
    assert rendering.opacity.max() <= 1.0 + 1e-5
    assert rendering.opacity.max() > 0.9
    assert rendering.rgb.min() >= -1e-5
    assert rendering.rgb.max() <= 1.0 + 1e-5
    assert rendering.depth.min() >= 0.0


def test_each_ray_is_coloured_by_its_own_direction() -> None:
    rays = random_rays(60)
    rendering = fog_model(1000.0, colour=None).render(rays)
    hit = rendering.opacity > 0.5
    assert 20 < hit.sum() < 60
    torch.testing.assert_close(rendering.rgb[hit], rays.directions[hit].abs(), atol=1e-5, rtol=0.0)
    assert (rendering.rgb[~hit] == 1.0).all()


def test_rays_render_alone_as_they_do_together() -> None:
    model, rays = grid_model(), random_rays(40)
    together = model.render(rays)
    order = torch.randperm(40)
    shuffled = model.render(Rays(rays.origins[order], rays.directions[order]))
    torch.testing.assert_close(shuffled.rgb, together.rgb[order], atol=1e-6, rtol=1e-5)
    for index in (0, 7, 39):
        alone = model.render(Rays(rays.origins[index : index + 1], rays.directions[index : index + 1]))
        torch.testing.assert_close(alone.rgb[0], together.rgb[index], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("per_pixel", [4, 9])
def test_several_rays_a_pixel_are_the_mean_of_single_rays(per_pixel: int) -> None:
    model = grid_model()
    single = model.render(random_rays(per_pixel * 10))
    several = model.render(random_rays(per_pixel * 10, per_pixel))
    assert several.rgb.shape == (10, 3)
    for part in ("rgb", "depth", "opacity"):
        expected = torch.stack([rays.mean(0) for rays in getattr(single, part).split(per_pixel)])
        torch.testing.assert_close(getattr(several, part), expected, atol=1e-6, rtol=1e-5)


def test_samples_are_shifted_at_random_within_a_step_and_by_half_of_one_by_default() -> None:
    model = fog_model(1e4)  # a wall: its depth is where the first sample lies
    step = 2.0 / 32
    drawn = torch.rand(500, generator=torch.Generator().manual_seed(6))
    many = Rays(ALONG_X.origins.expand(500, 3).contiguous(), ALONG_X.directions.expand(500, 3).contiguous())
    depths = model.render(many, torch.Generator().manual_seed(6)).depth
    torch.testing.assert_close(depths, 1.0 + drawn * step, atol=1e-4, rtol=0.0)
    assert model.render(ALONG_X).depth.item() == pytest.approx(1.0 + 0.5 * step, abs=1e-4)


# --- gradients ---


def test_gradient_of_the_whole_rendering_follows_finite_differences() -> None:
    model, rays = grid_model().double(), to_double(random_rays(12, per_pixel=4))
    upstream = torch.randn(3, 5, generator=torch.Generator().manual_seed(3)).double()

    def value() -> Tensor:
        rendering = model.render(rays, torch.Generator().manual_seed(2))
        return (torch.cat([rendering.rgb, rendering.depth[:, None], rendering.opacity[:, None]], -1) * upstream).sum()

    value().backward()
    for index, parameter in enumerate(model.parameters()):
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 1e-4
        generator = torch.Generator().manual_seed(10 + index)
        largest = torch.zeros_like(parameter).view(-1)
        largest[parameter.grad.view(-1).abs().argmax()] = 1.0
        some = torch.randn(parameter.shape, generator=generator).double() * (parameter.grad != 0)
        for direction in (largest.view_as(parameter), some / some.norm()):
            step = 1e-6 * direction
            with torch.no_grad():
                parameter.add_(step)
                above = value()
                parameter.sub_(2 * step)
                below = value()
                parameter.add_(step)
            expected = (above - below).item() / 2e-6
            assert (parameter.grad * direction).sum().item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_compiled_rendering_is_the_plain_one_in_values_and_gradients() -> None:
    single, double = grid_model(), grid_model().double()
    rays = random_rays(200, per_pixel=4)
    compiled = single.render(rays, torch.Generator().manual_seed(5))
    plain = double.render(to_double(rays), torch.Generator().manual_seed(5))
    assert compiled.samples == plain.samples
    for part in ("rgb", "depth", "opacity"):
        torch.testing.assert_close(getattr(compiled, part).double(), getattr(plain, part), atol=1e-4, rtol=1e-4)
    compiled.rgb.square().mean().backward()
    plain.rgb.square().mean().backward()
    for a, b in zip(single.parameters(), double.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        torch.testing.assert_close(a.grad.double(), b.grad, atol=1e-5 * float(b.grad.abs().max()) + 1e-9, rtol=1e-3)


# --- early termination, occupancy ---


def test_early_termination_changes_little() -> None:
    rays = random_rays(300)
    full = grid_model(walls=True).render(rays)
    assert (full.opacity > 0.99).sum() > 30
    short = grid_model(settings=settled(cells=8, steps=32, early_stop_eps=0.05), walls=True).render(rays)
    change = (full.rgb - short.rgb).abs().max()
    assert 1e-4 < change <= 0.05  # it does something, and no more than the light that it leaves out
    assert (full.opacity - short.opacity).min() >= -1e-6
    default = grid_model(settings=settled(cells=8, steps=32), walls=True).render(rays)
    assert (full.rgb - default.rgb).abs().max() <= 1e-3


def in_slab(positions: Tensor) -> Tensor:
    """Dense in the quarter of the cube with the smallest x, which cells fill exactly; empty elsewhere."""
    return torch.where(positions[:, 0] < 0.25, 30.0, 0.0)


def in_other_slab(positions: Tensor) -> Tensor:
    return torch.where(positions[:, 0] >= 0.75, 30.0, 0.0)


def test_empty_cells_are_skipped_after_a_few_updates() -> None:
    rays = Rays(torch.tensor([[-2.0, 0.3, 0.1], [0.6, -2.0, 0.1]]), torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    model = fog_model(in_slab)
    before = model.render(rays)
    assert before.samples == 64  # nothing is known yet: everything is sampled
    update(model, 3)
    after = model.render(rays)
    assert after.samples == 8  # a quarter of the first ray, nothing of the second
    assert_same(before, after)
    assert after.opacity.tolist() == pytest.approx([1.0 - math.exp(-15.0), 0.0], abs=1e-5)


def test_first_steps_of_many_rays_have_few_samples_each() -> None:
    settings = OccupancySettings(cells=8, steps=64, samples=24, early_steps=3, early_samples=160, update_every=100)
    model, generator = fog_model(in_slab, settings=settings), torch.Generator().manual_seed(0)
    through = Rays(torch.tensor([[-2.0, 0.3, 0.1]]), torch.tensor([[1.0, 0.0, 0.0]]))
    for step in range(1, 5):
        model.begin_step(generator)
        for rays, each in ((1, 24), (10, 16), (16, 10), (1000, 8)):
            trained = Rays(through.origins.expand(rays, 3), through.directions.expand(rays, 3))
            assert model.render(trained, generator).samples == rays * (each if step <= 3 else 24), (step, rays)
            assert model.render(trained).samples == rays * 48  # a picture


def test_the_grid_is_updated_now_and_then_only() -> None:
    model = fog_model(in_slab, settings=settled(cells=8, steps=32, update_every=5))
    changes = []
    for step in range(12):
        before = model.occupancy.clone()
        model.begin_step(torch.Generator().manual_seed(step))
        changes.append(not torch.equal(model.occupancy, before))
        model.occupancy[5] += 1.0  # it decays at the next update, so that every update changes something
    assert changes == [step in (5, 10) for step in range(12)]


def test_later_updates_find_what_appears_and_forget_what_disappears() -> None:
    settings = settled(cells=8, steps=32, full_updates=2, decay=0.7, early_stop_eps=0.0)
    model = fog_model(in_slab, settings=settings)
    update(model, 4)
    cast("Fog", model.field).density = in_other_slab
    update(model, 8, first=4)  # every cell is evaluated once in eight updates
    seen = model.render(ALONG_X)
    assert seen.opacity.item() == pytest.approx(1.0 - math.exp(-15.0), abs=1e-5)
    assert seen.depth.item() > 2.4
    update(model, 100, first=12)
    assert model.render(ALONG_X).samples == 8


def test_updates_leave_the_field_and_its_gradients_alone() -> None:
    model = grid_model()
    before = [parameter.clone() for parameter in model.parameters()]
    update(model, 3)
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
        assert parameter.grad is None
    assert not model.occupancy.requires_grad


@pytest.mark.parametrize("density", [0.013, 0.1, 0.3, 0.7, 1.0, 1.1, 7.0])
def test_thin_fog_everywhere_is_still_seen(density: float) -> None:
    # Where all cells are alike, their mean may be rounded to more than any of them.
    settings = settled(cells=64, steps=128)
    box = Box((-0.65, -0.65, -0.65), 1.3)
    model = fog_model(density, settings=settings, box=box)
    before = model.render(ALONG_X)
    update(model, 2)
    after = model.render(ALONG_X)
    assert after.samples == before.samples == 128
    assert_same(before, after)


# --- snapshots, state ---


def test_snapshot_is_independent_of_later_training() -> None:
    model, rays = grid_model(), random_rays(50)
    update(model, 2)
    before = model.render(rays)
    frozen = model.snapshot()
    assert_same(frozen.render(rays), before, atol=0.0)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not frozen.render(rays).rgb.requires_grad
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3)
    update(model, 2, first=2)
    model.occupancy.mul_(3.0)
    assert_same(frozen.render(rays), before, atol=0.0)
    assert (model.render(rays).rgb - before.rgb).abs().max() > 1e-2


def test_state_makes_another_model_render_the_same() -> None:
    model, other = grid_model(0), grid_model(1)
    update(model, 3)
    rays = random_rays(50)
    assert (model.render(rays).rgb - other.render(rays).rgb).abs().max() > 1e-2
    other.load_state_dict(model.state_dict())
    a, b = model.render(rays), other.render(rays)
    assert_same(a, b, atol=0.0)
    assert a.samples == b.samples
    update(model, 2, first=3)
    update(other, 2, first=3)
    assert torch.equal(model.occupancy, other.occupancy)


def test_a_state_dict_holds_all_that_decides_where_rays_are_sampled() -> None:
    settings = settled(cells=16, steps=64)

    def ball_at(positions: Tensor) -> Tensor:
        return 40.0 * ((positions - 0.7).norm(dim=-1) < 0.15)

    ball, other = (fog_model(ball_at, settings=settings) for _ in range(2))
    update(ball, 4)
    assert ball.bounds is not None
    assert ball.bounds[0] > BOX.lower, "empty space around the ball is left out"
    other.load_state_dict(ball.state_dict())
    assert other.sampling_layout() == ball.sampling_layout()
    origins = torch.tensor([[-4.0, 0.3, 0.4], [0.4, -4.0, 0.3]])
    rays = Rays(origins, torch.nn.functional.normalize(0.4 - origins, dim=-1))
    one, two = (model.render(rays, torch.Generator().manual_seed(1)) for model in (ball, other))
    assert one.samples == two.samples > 0
    assert torch.equal(one.depth, two.depth)
