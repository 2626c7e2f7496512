"""Compilation of the CPU's kernels before they are needed."""

from __future__ import annotations

import time

import torch

from nerfcl.models import kernels
from nerfcl.models.fields.hash_grid import HashGridSettings
from nerfcl.models.kernels.plain import new_moments
from nerfcl.models.rendering.occupancy import OccupancyModelSettings
from nerfcl.scenes.cameras import Rays
from nerfcl.scenes.scene import Box


def compile_kernels() -> float:
    """Compile the CPU kernels by one training step of a tiny model, or load them from numba's cache.

    Returns:
        Elapsed seconds.
    """
    started = time.perf_counter()
    field = HashGridSettings(base_resolution=2, max_resolution=4, levels=2, table_size=64, width=4, geometry_features=4)
    model = OccupancyModelSettings.in_box(field, Box((0.0, 0.0, 0.0), 1.0), image_width=4).build(0)
    generator = torch.Generator().manual_seed(0)
    model.begin_step(generator)
    rays = Rays(torch.tensor([[0.5, 0.5, -1.0]]), torch.tensor([[0.0, 0.0, 1.0]]))
    model.render(rays, generator).rgb.sum().backward()
    for parameter in model.parameters():
        gradients = [parameter.grad, torch.zeros_like(parameter)]
        for gradient in gradients:
            assert gradient is not None
            kernels.adam(parameter, gradient, new_moments(parameter), 1, 0.1, (0.9, 0.99), 1e-15)
    return time.perf_counter() - started
