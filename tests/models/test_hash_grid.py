from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nerfcl.models.fields.hash_grid import HashGridField, HashGridSettings, spherical_harmonics

SETTINGS = HashGridSettings(coarsest=4, finest=16, levels=3, table_size=2**9, width=8, geometry_features=5)


def field(seed: int = 0, settings: HashGridSettings = SETTINGS) -> HashGridField:
    return HashGridField(settings, torch.Generator().manual_seed(seed))


def random_directions(count: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(1)), dim=-1)


def test_spherical_harmonics_are_orthonormal_over_the_sphere() -> None:
    # Gauss-Legendre in z and equal steps around it integrate polynomials of degree 6, products of two, exactly.
    z, weights = np.polynomial.legendre.leggauss(8)
    angles = 2 * np.pi * np.arange(16) / 16
    across = np.sqrt(1 - z**2)[:, None]
    points = np.stack(np.broadcast_arrays(across * np.cos(angles), across * np.sin(angles), z[:, None]), -1).reshape(
        -1, 3
    )
    values = spherical_harmonics(torch.from_numpy(points.copy()))
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
    torch.testing.assert_close(
        spherical_harmonics(directions), torch.from_numpy(np.stack(expected, -1)), atol=1e-7, rtol=0.0
    )


def test_shapes_and_ranges() -> None:
    grid = field()
    positions = torch.rand(11, 3)
    density, features = grid.geometry(positions)
    assert (density.shape, features.shape) == ((11,), (11, 5))
    assert (density > 0).all()
    colours = grid.colour(features, random_directions(4), torch.tensor([3, 0, 7, 1]))
    assert colours.shape == (11, 3)
    assert ((colours >= 0) & (colours <= 1)).all()


def test_settings_shape_the_grid_and_the_networks() -> None:
    grid = field()
    assert grid.levels.resolutions.tolist() == [4, 8, 16]
    assert grid.table.shape == (5**3 + 512 + 512, 2)  # 9^3 and 17^3 vertices do not fit into 512 entries
    assert [tuple(weight.shape) for weight in grid.density_network] == [(6, 8), (8, 5)]
    assert [tuple(weight.shape) for weight in grid.colour_network] == [(5 + 16, 8), (8, 8), (8, 3)]


def test_density_is_the_exponential_of_the_first_feature_and_stays_finite() -> None:
    grid = field()
    with torch.no_grad():
        grid.table.mul_(100)
    density, features = grid.geometry(torch.rand(20, 3))
    assert features[:, 0].std() > 0.1
    ratio = density / density[0]
    torch.testing.assert_close(ratio, (features[:, 0] - features[0, 0]).exp())
    with torch.no_grad():
        for weight in grid.density_network:
            weight.mul_(1e4)
    density, features = grid.geometry(torch.rand(200, 3))
    assert features[:, 0].max() > 100
    assert torch.isfinite(density).all()


def test_each_point_has_the_colour_of_its_own_ray() -> None:
    grid = field()
    _, features = grid.geometry(torch.rand(6, 3))
    directions, counts = random_directions(3), [2, 0, 4]
    together = grid.colour(features, directions, torch.tensor(counts))
    for index, owner in enumerate((0, 0, 2, 2, 2, 2)):
        alone = grid.colour(features[index : index + 1], directions[owner : owner + 1], torch.tensor([1]))
        torch.testing.assert_close(together[index : index + 1], alone)
    other = grid.colour(features[:1], directions[2:3], torch.tensor([1]))
    assert (other - together[:1]).abs().max() > 1e-3


def test_no_points_at_all() -> None:
    grid = field()
    density, features = grid.geometry(torch.empty(0, 3))
    colours = grid.colour(features, random_directions(2), torch.tensor([0, 0]))
    assert (density.shape, colours.shape) == ((0,), (0, 3))
    (density.sum() + colours.sum()).backward()
    assert all(parameter.grad is not None and (parameter.grad == 0).all() for parameter in grid.parameters())


def test_same_seed_same_field() -> None:
    one, same, other = field(3), field(3), field(4)
    for a, b, c in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_float64_field_is_the_float32_field() -> None:
    positions, directions, counts = torch.rand(30, 3), random_directions(2), torch.tensor([10, 20])
    single = field()
    with torch.no_grad():
        single.table.mul_(50)
    results = []
    for grid in (single, field().double()):
        if grid is not single:
            grid.load_state_dict(single.state_dict())
        dtype = grid.table.dtype
        density, features = grid.geometry(positions.to(dtype))
        assert density.dtype == dtype
        results.append((density.double(), grid.colour(features, directions.to(dtype), counts).double()))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
