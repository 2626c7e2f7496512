"""The hash grid field: against closed forms, scipy and its own twin in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from models.kernels.twins import uniform
from nerfcl.errors import NerfclError
from nerfcl.models.fields.hash_grid import HashGridField, HashGridSettings, mlp, spherical_harmonics

SETTINGS = HashGridSettings(
    base_resolution=4, max_resolution=16, levels=3, table_size=2**9, width=8, geometry_features=5
)


def field(seed: int = 0) -> HashGridField:
    return SETTINGS.build(torch.Generator().manual_seed(seed))


def random_directions(count: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(1)), dim=-1)


def test_spherical_harmonics_are_orthonormal_over_the_sphere() -> None:
    # Gauss-Legendre in z and equal steps around it integrate polynomials of degree 6, products of two, exactly.
    z, weights = np.polynomial.legendre.leggauss(8)
    angles = 2 * np.pi * np.arange(16) / 16
    across = np.sqrt(1 - z**2)[:, None]
    points = np.stack(np.broadcast_arrays(across * np.cos(angles), across * np.sin(angles), z[:, None]), -1)
    values = spherical_harmonics(torch.from_numpy(points.reshape(-1, 3)))
    area = torch.from_numpy(np.repeat(weights, 16) * 2 * np.pi / 16)
    assert area.sum().item() == pytest.approx(4 * math.pi)
    products = (values * area[:, None]).T @ values
    torch.testing.assert_close(products, torch.eye(16).double(), atol=1e-12, rtol=0.0)


def test_spherical_harmonics_are_scipys() -> None:
    special = pytest.importorskip("scipy.special")
    if not hasattr(special, "sph_harm_y"):
        pytest.skip("scipy is older than 1.15")
    directions = torch.nn.functional.normalize(random_directions(50).double(), dim=-1)
    x, y, z = directions.numpy().T
    expected = []
    for degree in range(4):
        for order in range(-degree, degree + 1):
            value = special.sph_harm_y(degree, abs(order), np.arccos(z), np.arctan2(y, x))
            part = value.imag if order < 0 else value.real
            expected.append(part * (math.sqrt(2) if order else 1.0))
    np.testing.assert_allclose(spherical_harmonics(directions).numpy(), np.stack(expected, -1), atol=1e-7, rtol=0.0)


def test_shapes_and_ranges() -> None:
    grid = field()
    positions = torch.rand(11, 3)
    density, features = grid.get_density(positions)
    assert (density.shape, features.shape) == ((11,), (11, 5))
    assert (density > 0).all()
    colours = grid.get_colour(features, random_directions(4), torch.tensor([3, 0, 7, 1]))
    assert colours.shape == (11, 3)
    assert ((colours >= 0) & (colours <= 1)).all()


def test_settings_shape_the_grid_and_the_networks() -> None:
    grid = field()
    assert grid.levels.resolutions.tolist() == [4, 8, 16]
    assert grid.table.shape == (5**3 + 512 + 512, 4)  # 9^3 and 17^3 vertices do not fit into 512 entries
    assert [tuple(weight.shape) for weight in grid.density_network] == [(12, 8), (8, 5)]
    assert [tuple(weight.shape) for weight in grid.colour_network] == [(5 + 16, 8), (8, 8), (8, 3)]


@pytest.mark.parametrize(
    ("changes", "width", "resolution"),
    [({}, 16, 32), ({}, 64, 63), ({}, 801, 800), ({"max_resolution": 48}, 801, 48)],
)
def test_images_decide_the_finest_level_where_it_is_left_open(
    changes: dict[str, int], width: int, resolution: int
) -> None:
    # As many vertices as the images have columns, but at least 32 cells.
    assert HashGridSettings(**changes).for_images(width) == HashGridSettings(max_resolution=resolution)


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("max_resolution", (15, 4097), "must lie between 16 and 4096"),
        ("width", (0, 1025), "must lie between 1 and 1024"),
        ("features_per_level", (1, 3, 8), "must be 2 or 4"),
    ],
)
def test_settings_that_cannot_work_are_refused(name: str, values: tuple[int, ...], why: str) -> None:
    for value in values:
        with pytest.raises(NerfclError, match=f"^{name}={value}: {why}$"):
            HashGridSettings(**{name: value})


def test_density_is_the_exponential_of_the_first_feature_and_stays_finite() -> None:
    grid = field()
    with torch.no_grad():
        grid.table.mul_(100)
    density, features = grid.get_density(torch.rand(20, 3))
    assert features[:, 0].std() > 0.1
    ratio = density / density[0]
    torch.testing.assert_close(ratio, (features[:, 0] - features[0, 0]).exp())
    with torch.no_grad():
        for weight in grid.density_network:
            weight.mul_(1e4)
    density, features = grid.get_density(torch.rand(200, 3))
    assert features[:, 0].max() > 100
    assert torch.isfinite(density).all()


def test_each_point_has_the_colour_of_its_own_ray() -> None:
    grid = field()
    _, features = grid.get_density(torch.rand(6, 3))
    directions, counts = random_directions(3), [2, 0, 4]
    together = grid.get_colour(features, directions, torch.tensor(counts))
    for index, owner in enumerate((0, 0, 2, 2, 2, 2)):
        alone = grid.get_colour(features[index : index + 1], directions[owner : owner + 1], torch.tensor([1]))
        torch.testing.assert_close(together[index : index + 1], alone)
    other = grid.get_colour(features[:1], directions[2:3], torch.tensor([1]))
    assert (other - together[:1]).abs().max() > 1e-3


def test_no_points_at_all() -> None:
    grid = field()
    density, features = grid.get_density(torch.empty(0, 3))
    colours = grid.get_colour(features, random_directions(2), torch.tensor([0, 0]))
    assert (density.shape, colours.shape) == ((0,), (0, 3))
    (density.sum() + colours.sum()).backward()
    assert all(parameter.grad is not None and (parameter.grad == 0).all() for parameter in grid.parameters())


def test_same_seed_same_field() -> None:
    one, same, other = field(3), field(3), field(4)
    for a, b, c in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


@pytest.mark.parametrize(("finest", "cells"), [(21, 8), (16, 8), (19, 16), (17, 5), (7, 8)])
@torch.no_grad()
def test_entries_that_are_kept_are_all_that_occupied_cells_read(finest: int, cells: int) -> None:
    settings = HashGridSettings(base_resolution=3, max_resolution=finest, levels=3, table_size=2**14)
    one = settings.build(torch.Generator().manual_seed(0))
    one.table.copy_(uniform(*one.table.shape) + 0.5)  # no entry is 0 by chance
    occupied = uniform(cells, cells, cells, seed=1) < 0.05
    state = one.rendering_state(occupied)
    unread = (state["table"] == 0.0).all(1)
    assert 0.1 < unread.float().mean() < 1.0, "entries of empty space are left out"
    corners = occupied.nonzero().repeat_interleave(4000, 0)
    positions = (corners + uniform(len(corners), 3, seed=2)) / cells
    before, _ = one.get_density(positions)
    one.load_rendering_state(state)
    assert torch.equal(one.get_density(positions)[0], before)


def test_the_networks_follow_torchs_own_layers() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, *weights = (torch.randn(*shape, generator=generator) for shape in ((40, 6), (6, 16), (16, 8), (8, 3)))
    layers: list[torch.nn.Module] = []
    for weight in weights:
        layer = torch.nn.Linear(*weight.shape, bias=False)
        layer.weight.data.copy_(weight.T)
        layers += [layer, torch.nn.ReLU()]
    torch.testing.assert_close(mlp(inputs, *weights), torch.nn.Sequential(*layers[:-1])(inputs).detach())
