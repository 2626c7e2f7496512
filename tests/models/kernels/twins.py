"""Both twins of a kernel, and what they are compared on."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from nerfcl.models.kernels import compiled, plain

TWINS = pytest.mark.parametrize("twin", [compiled, plain], ids=["compiled", "plain"])


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def offsets_of(counts: list[int]) -> Tensor:
    """Where each ray's samples begin, and where the last ones end."""
    return torch.tensor([0, *np.cumsum(counts, dtype=np.int64).tolist()], dtype=torch.int64)


def values_and_gradients(function: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
    """What a function returns, and the gradient of a fixed weighted sum of it with respect to each input."""
    leaves = [value.clone().requires_grad_() for value in inputs]
    result = function(*leaves)
    upstream = normal(*result.shape, seed=99).to(result.dtype)
    kept = upstream.clone()
    gradients = torch.autograd.grad(result, leaves, upstream)
    assert torch.equal(upstream, kept)  # a backward pass must not write into what it was handed
    return result.detach(), *gradients


def assert_twins_agree(run: Callable[[ModuleType], tuple[Tensor, ...]], atol: float = 1e-5, rtol: float = 1e-4) -> None:
    for one, other in zip(run(compiled), run(plain), strict=True):
        torch.testing.assert_close(one, other, atol=atol, rtol=rtol)
