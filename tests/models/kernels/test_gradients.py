"""Memory for gradients that is lent and taken back, and marks of what was touched."""

from __future__ import annotations

import copy
import gc

import numpy as np
import pytest
import torch

from models.kernels.twins import normal, uniform
from nerfcl.models import kernels
from nerfcl.models.kernels import GradientBuffers, plain
from nerfcl.models.kernels.gradients import touched_of
from nerfcl.models.kernels.layout import LINE
from nerfcl.models.kernels.plain import join_moments, new_moments

SHAPE = torch.Size((1000, 2))
BETAS = (0.9, 0.99)


def lent(buffers: GradientBuffers, seed: int) -> torch.Tensor:
    """A gradient that differs from zero in a few places, which are marked."""
    gradient, marks = buffers.lend(SHAPE)
    assert (gradient == 0).all()
    assert (marks == 0).all()
    places = torch.randint(SHAPE.numel(), (40,), generator=torch.Generator().manual_seed(seed))
    gradient.numpy().reshape(-1)[places.numpy()] = normal(40, seed=seed).numpy()
    marks[np.unique(places.numpy() // LINE)] = 1
    return gradient


def step(parameter: torch.Tensor, gradient: torch.Tensor, moments: torch.Tensor) -> None:
    kernels.adam(parameter, gradient, moments, 2, 0.1, BETAS, 1e-15)


def test_a_step_where_marked_is_the_plain_step_and_clears_the_memory() -> None:
    buffers = GradientBuffers()
    memory = set()
    for seed in range(4):
        gradient = lent(buffers, seed)
        memory.add(gradient.data_ptr())
        ours = [normal(*SHAPE, seed=9), join_moments(*(uniform(*SHAPE, seed=i) for i in range(2)))]
        theirs = [part.clone() for part in ours]
        plain.adam(theirs[0], gradient.clone(), theirs[1], 2, 0.1, BETAS, 1e-15)
        assert touched_of(gradient) is not None
        step(ours[0], gradient, ours[1])
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other)
    assert len(memory) == 1, "the same memory serves every step"


@pytest.mark.parametrize("change", ["in place", "through a view"])
def test_marks_are_not_believed_once_the_gradient_was_changed(change: str) -> None:
    gradient = lent(GradientBuffers(), 0)
    if change == "in place":
        gradient.add_(1.0)
    else:
        gradient[3:5] += 1.0
    assert touched_of(gradient) is None
    ours = [torch.zeros(SHAPE), new_moments(torch.zeros(SHAPE))]
    theirs = [part.clone() for part in ours]
    plain.adam(theirs[0], gradient.clone(), theirs[1], 2, 0.1, BETAS, 1e-15)
    step(ours[0], gradient, ours[1])
    torch.testing.assert_close(ours[0], theirs[0])


def test_memory_that_does_not_come_back_is_neither_reused_nor_believed() -> None:
    buffers = GradientBuffers()
    first, second = lent(buffers, 0), lent(buffers, 1)
    assert first.data_ptr() != second.data_ptr()
    address = first.data_ptr()
    del first
    gc.collect()
    others = [torch.ones(SHAPE) for _ in range(50)]
    assert all(touched_of(other) is None for other in others)
    assert touched_of(second) is not None
    assert address  # only that it was there


def test_copies_of_a_model_do_not_share_memory() -> None:
    buffers = GradientBuffers()
    other = copy.deepcopy(buffers)
    assert other is not buffers
    gradient = lent(buffers, 0)
    step(torch.zeros(SHAPE), gradient, new_moments(torch.zeros(SHAPE)))
    assert other.lend(SHAPE)[0].data_ptr() != gradient.data_ptr()
