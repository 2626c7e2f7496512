"""World rays -> rays in normalised device coordinates."""

from __future__ import annotations

import torch
from torch import Tensor

from nerfcl.scenes.cameras import Rays
from nerfcl.scenes.scene import Ndc

_GRAZING = 1e-6  # least component of a direction along -z; below it, a ray's far end is too far away for float32


def to_ndc(rays: Rays, ndc: Ndc) -> tuple[Rays, Tensor]:
    """Warp rays (Mildenhall et al. 2020, appendix C).

    A ray begins where it crosses the near plane, or at its origin if that lies beyond, and ends at infinity, in the
    plane z = 1. A ray that does not point along -z is placed behind that plane, pointing away, so that it hits nothing.

    Args:
        rays: R rays in the world, with directions of unit length.
        ndc: the target coordinates.

    Returns:
        R rays, with directions of unit length, and the length (R,) from the beginning to the end of each: 0 for those
        that do not point along -z, positive for the others.
    """
    origins, directions = rays.origins, rays.directions
    ahead = directions[:, 2:] < -_GRAZING  # (R, 1)
    forward = torch.where(ahead, -directions[:, 2:], 1.0)
    depth = (-origins[:, 2:]).clamp(min=ndc.near)  # (R, 1) of the beginning
    start = origins[:, :2] + (depth + origins[:, 2:]) / forward * directions[:, :2]  # (R, 2)
    scale = torch.tensor([ndc.scale_x, ndc.scale_y], dtype=origins.dtype, device=origins.device)
    begins = torch.cat([scale * start / depth, 1.0 - 2.0 * ndc.near / depth], -1)  # (R, 3)
    ends = torch.cat([scale * directions[:, :2] / forward, torch.ones_like(depth)], -1)
    away = torch.tensor([0.0, 0.0, 1.0], dtype=origins.dtype, device=origins.device)
    ways = torch.where(ahead, ends - begins, away)
    lengths = ways.norm(dim=-1, keepdim=True)
    warped = Rays(torch.where(ahead, begins, 2.0 * away), ways / lengths, rays.per_pixel)
    return warped, (lengths * ahead)[:, 0]
