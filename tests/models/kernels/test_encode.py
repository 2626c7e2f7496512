"""The hash grid's encoding: by hand, and the compiled twin against the plain one."""

from __future__ import annotations

import itertools
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from models.kernels.twins import TWINS, assert_twins_agree, normal, uniform, values_and_gradients
from nerfcl.models import kernels
from nerfcl.models.kernels import GridLevels, compiled, geometric_levels, plain

# 27, 125, 729 and 4913 vertices: the first two levels are dense, the others hashed.
LEVELS = geometric_levels(2, 16, 4, 512)


def test_float32_on_the_cpu_is_compiled_and_everything_else_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((compiled, "compiled"), (plain, "plain")):
        monkeypatch.setattr(module, "encode", lambda *_, name=name: name)
    tables = (torch.ones(2, 3), torch.ones(2, 3).double(), torch.ones(2, 3, device="meta"))
    assert [kernels.encode(torch.ones(1, 3), table, LEVELS) for table in tables] == ["compiled", "plain", "plain"]


def test_geometric_levels_by_hand() -> None:
    assert LEVELS.resolutions.tolist() == [2, 4, 8, 16]
    assert LEVELS.hashed.tolist() == [False, False, True, True]
    assert LEVELS.starts.tolist() == [0, 27, 152, 664, 1176]
    assert (LEVELS.entries, LEVELS.width) == (1176, 8)
    exact = geometric_levels(7, 7, 1, 512)  # 8^3 vertices just fit
    assert (exact.hashed.tolist(), exact.entries) == ([False], 512)


def some_positions() -> Tensor:
    """Points inside the unit cube, and its corners, edges and faces."""
    grid = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 3)
    return torch.cat([uniform(400, 3, seed=3), grid])


@pytest.mark.parametrize(
    ("levels", "positions"),
    [
        pytest.param(LEVELS, some_positions(), id="borders"),
        pytest.param(geometric_levels(3, 50, 7, 2**12), uniform(1000, 3, seed=8), id="odd levels, several blocks"),
        pytest.param(geometric_levels(2, 16, 4, 512, features=4), some_positions(), id="four features"),
    ],
)
def test_encode_twins_agree_in_values_and_gradient(levels: GridLevels, positions: Tensor) -> None:
    assert set(levels.hashed.tolist()) == {False, True}
    table = normal(levels.entries, levels.features, seed=4)
    assert_twins_agree(lambda twin: values_and_gradients(lambda t: twin.encode(positions, t, levels), table))


@TWINS
def test_dense_levels_reproduce_a_linear_function(twin: ModuleType) -> None:
    levels = geometric_levels(2, 5, 2, 512)
    table = torch.empty(levels.entries, 2)
    for resolution, start in zip((2, 5), levels.starts, strict=False):
        for x, y, z in itertools.product(range(resolution + 1), repeat=3):
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
    for (x, wx), (y, wy), (z, wz) in itertools.product(
        enumerate((0.8, 0.2)), enumerate((0.5, 0.5)), enumerate((0.2, 0.8))
    ):
        expected[(x * 3 + y) * 3 + z, 1] = wx * wy * wz
    torch.testing.assert_close(table.grad, expected, atol=1e-6, rtol=1e-5)


def test_plain_encode_follows_finite_differences() -> None:
    levels = geometric_levels(2, 4, 2, 64)
    assert levels.hashed.tolist() == [False, True]
    positions = uniform(5, 3, seed=2).double()
    table = normal(levels.entries, 2, seed=1).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: plain.encode(positions, t, levels), (table,))


@TWINS
def test_encode_of_no_points(twin: ModuleType) -> None:
    table = torch.ones(LEVELS.entries, 2, requires_grad=True)
    features = twin.encode(torch.empty(0, 3), table, LEVELS)
    assert features.shape == (0, 8)
    features.sum().backward()
    assert table.grad is not None
    assert (table.grad == 0).all()
