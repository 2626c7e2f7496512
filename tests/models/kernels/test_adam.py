"""Adam's step: by hand, against torch's own, and the compiled twin against the plain one."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import Tensor

from models.kernels.twins import TWINS, assert_twins_agree, normal, uniform
from nerfcl.models import kernels
from nerfcl.models.kernels.plain import join_moments, new_moments, split_moments

BETAS = (0.9, 0.99)


def adam_run(twin: ModuleType, gradients: list[Tensor], start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    parameter, moments = start.clone(), new_moments(start)
    for count, gradient in enumerate(gradients, 1):
        twin.adam(parameter, gradient, moments, count, 1e-2 * count, BETAS, 1e-15)
    return parameter, *split_moments(moments, start.shape)


@pytest.mark.parametrize("shape", [(5,), (16,), (37, 2), (9001,)])
def test_adam_twins_agree_over_several_steps(shape: tuple[int, ...]) -> None:
    gradients = [normal(*shape, seed=i) * (uniform(*shape, seed=50 + i) < 0.4) * 10.0 ** (i - 3) for i in range(6)]
    assert_twins_agree(lambda twin: adam_run(twin, gradients, normal(*shape, seed=9)), atol=1e-6)


@TWINS
def test_adam_is_torchs_where_all_gradients_are_nonzero(twin: ModuleType) -> None:
    gradients, start = [normal(40, 2, seed=i) for i in range(5)], normal(40, 2, seed=9)
    parameter = torch.nn.Parameter(start.clone())
    optimiser = torch.optim.Adam([parameter], betas=BETAS, eps=1e-15)
    for count, gradient in enumerate(gradients, 1):
        optimiser.param_groups[0]["lr"] = 1e-2 * count
        parameter.grad = gradient
        optimiser.step()
    state = optimiser.state[parameter]
    expected = (parameter.data, state["exp_avg"], state["exp_avg_sq"])
    for ours, theirs in zip(adam_run(twin, gradients, start), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@TWINS
def test_entries_without_gradient_keep_value_and_moments(twin: ModuleType) -> None:
    parameter, mean, square = (uniform(64, seed=i) + 0.1 for i in range(3))
    before = [value.clone() for value in (parameter, mean, square)]
    gradient = normal(64, seed=4)
    gradient[::3] = 0.0
    gradient[20:45] = 0.0  # a whole block, too
    still = gradient == 0.0
    moments = join_moments(mean, square)
    twin.adam(parameter, gradient, moments, 3, 0.1, BETAS, 1e-15)
    mean, square = split_moments(moments, parameter.shape)
    for after, old in zip((parameter, mean, square), before, strict=True):
        assert torch.equal(after[still], old[still])
        assert (after[~still] != old[~still]).all()


@TWINS
def test_first_step_of_adam_by_hand(twin: ModuleType) -> None:
    # The corrected moments are g and g^2: every entry moves by the rate, against the gradient's sign.
    parameter = torch.tensor([1.0, 2.0, 3.0])
    moments = new_moments(parameter)
    twin.adam(parameter, torch.tensor([4.0, -0.001, 0.0]), moments, 1, 0.25, BETAS, 1e-15)
    mean, square = split_moments(moments, parameter.shape)
    assert parameter.tolist() == pytest.approx([0.75, 2.25, 3.0])
    assert mean.tolist() == pytest.approx([0.4, -0.0001, 0.0])
    assert square.tolist() == pytest.approx([0.16, 1e-8, 0.0])


@TWINS
def test_adam_stays_finite_on_gradients_that_underflow_when_squared(twin: ModuleType) -> None:
    gradients = [torch.tensor([1e-30, -1e-25, 1e-20, 1e-38])] * 4
    assert all(torch.isfinite(part).all() for part in adam_run(twin, gradients, torch.ones(4)))


@TWINS
def test_adam_of_a_parameter_without_entries(twin: ModuleType) -> None:
    assert adam_run(twin, [torch.empty(0)], torch.empty(0))[0].shape == (0,)


def test_adam_takes_parameters_that_require_gradients() -> None:
    parameter = torch.nn.Parameter(torch.ones(20, 2))
    kernels.adam(parameter, torch.ones(2, 20).T, new_moments(parameter), 1, 0.5, BETAS, 1e-15)
    torch.testing.assert_close(parameter.data, torch.full((20, 2), 0.5))


def test_moments_are_laid_out_line_by_line() -> None:
    mean, square = normal(5, 7, seed=1), uniform(5, 7)
    moments = join_moments(mean, square)
    assert moments.shape == (3, 2, 16)
    assert torch.equal(moments[1, 0], mean.view(-1)[16:32])
    assert torch.equal(moments[2, 1, :3], square.view(-1)[32:])
    for ours, theirs in zip(split_moments(moments, mean.shape), (mean, square), strict=True):
        assert torch.equal(ours, theirs)
    assert new_moments(mean).shape == moments.shape
