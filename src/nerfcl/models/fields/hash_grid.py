"""The default field: a multi-resolution grid with two small networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from nerfcl.models import kernels

_LARGEST_LOG_DENSITY = 11.0
_HARMONICS = 16


@dataclass(frozen=True)
class HashGridSettings:
    """Shape of the field.

    Attributes:
        coarsest: cells along each axis of the coarsest level.
        finest: cells along each axis of the finest level; near the pixels' footprint generalises best.
        levels: number of levels.
        table_size: most entries of one level, a power of two; levels that do not fit are hashed.
        width: width of the networks' hidden layers.
        geometry_features: features that the density network hands to the colour network.
        log_density: logarithm of the density (per world unit) that an untrained field has about everywhere; a thin
            fog lets gradients reach every depth, and little of it has to be cleared away.
    """

    coarsest: int = 16
    finest: int = 64
    levels: int = 8
    table_size: int = 2**19
    width: int = 32
    geometry_features: int = 16
    log_density: float = -1.0


class HashGridField(nn.Module):
    """Density and colour of points in the unit cube (Müller et al. 2022, "instant neural graphics primitives").

    Args:
        settings: shape of the field.
        generator: source of the initial values.
    """

    def __init__(self, settings: HashGridSettings, generator: torch.Generator) -> None:
        super().__init__()
        self.levels = kernels.geometric_levels(settings.coarsest, settings.finest, settings.levels, settings.table_size)
        self.log_density = settings.log_density
        width, features = settings.width, settings.geometry_features
        table = torch.rand(self.levels.entries, kernels.GridLevels.FEATURES, generator=generator)
        self.table = nn.Parameter((table * 2.0 - 1.0) * 1e-2)
        self.density_network = _layers([self.levels.width, width, features], generator)
        self.colour_network = _layers([features + _HARMONICS, width, width, 3], generator)

    def geometry(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Density and what the colour depends on.

        Args:
            positions: (N, 3) in the unit cube.

        Returns:
            density (N,) per world unit, and features (N, G).
        """
        features = kernels.mlp(kernels.encode(positions, self.table, self.levels), *self.density_network)  # (N, G)
        log_density = (features[:, 0] + self.log_density).clamp(max=_LARGEST_LOG_DENSITY)
        return torch.exp(log_density), features

    def colour(self, features: Tensor, directions: Tensor, counts: Tensor) -> Tensor:
        """Colour of the points that `geometry` gave the features of.

        Args:
            features: (N, G).
            directions: (R, 3), unit length.
            counts: (R,) points that are seen along each direction, in order; they sum to N.

        Returns:
            (N, 3) in [0, 1].
        """
        seen = spherical_harmonics(directions).repeat_interleave(counts, 0)  # (N, 16)
        return torch.sigmoid(kernels.mlp(torch.cat([features, seen], -1), *self.colour_network))


def _layers(widths: list[int], generator: torch.Generator) -> nn.ParameterList:
    """Weight matrices (in, out), normal with variance 2 / in (He et al. 2015)."""
    return nn.ParameterList(
        nn.Parameter(torch.randn(a, b, generator=generator) * math.sqrt(2.0 / a)) for a, b in pairwise(widths)
    )


def spherical_harmonics(directions: Tensor) -> Tensor:
    """Real spherical harmonics up to degree 3.

    Args:
        directions: (R, 3), unit length.

    Returns:
        (R, 16), orthonormal over the sphere, ordered by degree and then by order from -l to l.
    """
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    return torch.stack(
        [
            torch.full_like(x, 0.5 * math.sqrt(1 / math.pi)),
            -math.sqrt(3 / (4 * math.pi)) * y,
            math.sqrt(3 / (4 * math.pi)) * z,
            -math.sqrt(3 / (4 * math.pi)) * x,
            0.5 * math.sqrt(15 / math.pi) * x * y,
            -0.5 * math.sqrt(15 / math.pi) * y * z,
            0.25 * math.sqrt(5 / math.pi) * (3.0 * zz - 1.0),
            -0.5 * math.sqrt(15 / math.pi) * x * z,
            0.25 * math.sqrt(15 / math.pi) * (xx - yy),
            -0.25 * math.sqrt(35 / (2 * math.pi)) * y * (3.0 * xx - yy),
            0.5 * math.sqrt(105 / math.pi) * x * y * z,
            -0.25 * math.sqrt(21 / (2 * math.pi)) * y * (5.0 * zz - 1.0),
            0.25 * math.sqrt(7 / math.pi) * z * (5.0 * zz - 3.0),
            -0.25 * math.sqrt(21 / (2 * math.pi)) * x * (5.0 * zz - 1.0),
            0.25 * math.sqrt(105 / math.pi) * z * (xx - yy),
            -0.25 * math.sqrt(35 / (2 * math.pi)) * x * (xx - 3.0 * yy),
        ],
        -1,
    )
