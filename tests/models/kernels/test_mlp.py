"""Small networks, and which twin runs: against torch's own layers, and the compiled twin against the plain one."""

from __future__ import annotations

import itertools
import math
from types import ModuleType

import pytest
import torch
from torch import Tensor

from models.kernels.twins import TWINS, assert_twins_agree, normal, values_and_gradients
from nerfcl.models import kernels
from nerfcl.models.kernels import compiled, plain


def test_float32_on_the_cpu_is_compiled_and_everything_else_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((compiled, "compiled"), (plain, "plain")):
        monkeypatch.setattr(module, "mlp", lambda *_, name=name: name)
    inputs = (torch.ones(2, 3), torch.ones(2, 3).double(), torch.ones(2, 3, device="meta"))
    assert [kernels.mlp(value) for value in inputs] == ["compiled", "plain", "plain"]


def weights_of(*widths: int) -> list[Tensor]:
    return [normal(a, b, seed=a * 100 + b) / math.sqrt(a) for a, b in itertools.pairwise(widths)]


@pytest.mark.parametrize("widths", [(6, 3), (6, 16, 4), (6, 16, 8, 3)])
def test_mlp_twins_agree_in_values_and_gradients(widths: tuple[int, ...]) -> None:
    inputs = normal(300, 6, seed=1)
    assert_twins_agree(lambda twin: values_and_gradients(twin.mlp, inputs, *weights_of(*widths)), atol=1e-4)


@pytest.mark.parametrize("widths", [(6, 3), (6, 16, 8, 3)])
def test_mlp_without_gradient_of_its_inputs(widths: tuple[int, ...]) -> None:
    inputs = normal(50, 6, seed=1)
    with_inputs = values_and_gradients(compiled.mlp, inputs, *weights_of(*widths))
    without = values_and_gradients(lambda *weights: compiled.mlp(inputs, *weights), *weights_of(*widths))
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
    wide, weights = normal(30, 12, seed=6), weights_of(6, 4)[0]
    assert_twins_agree(lambda twin: values_and_gradients(lambda x, w: twin.mlp(x[:, 1::2], w), wide, weights))


def test_plain_mlp_follows_finite_differences() -> None:
    inputs = [value.double().requires_grad_() for value in (normal(4, 3, seed=1), *weights_of(3, 5, 2))]
    assert torch.autograd.gradcheck(plain.mlp, inputs)


@TWINS
def test_mlp_of_no_points(twin: ModuleType) -> None:
    result, *gradients = values_and_gradients(twin.mlp, torch.empty(0, 6), *weights_of(6, 16, 3))
    assert result.shape == (0, 3)
    assert [gradient.shape for gradient in gradients] == [(0, 6), (6, 16), (16, 3)]
    assert all((gradient == 0).all() for gradient in gradients)
