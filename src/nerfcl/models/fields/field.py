"""Interfaces of fields and of their settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from nerfcl.models.fields import FIELDS
from nerfcl.models.kernels import Samples, plain
from nerfcl.registry import Registry


class Field(nn.Module, ABC):
    """Density and colour of points in space. The occupancy renderer works with any field with these methods.

    Example:
        >>> from nerfcl.models.fields.hash_grid import HashGridSettings
        >>> field = HashGridSettings(max_resolution=32).build(torch.Generator().manual_seed(0))
        >>> density, features = field.get_density(torch.rand(6, 3))
        >>> colours = field.get_colour(features, torch.eye(3), counts=torch.tensor([3, 2, 1]))
        >>> tuple(density.shape), tuple(colours.shape)
        ((6,), (6, 3))
    """

    @abstractmethod
    def get_density(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the density, and the features that the colour depends on.

        Args:
            positions: (N, 3) in the coordinates of the field's renderer: for "occupancy" the unit cube, which spans the
                model's box; for "hierarchical" world coordinates.

        Returns:
            density (N,) per world unit, non-negative, and features (N, F).
        """

    @abstractmethod
    def get_colour(self, features: Tensor, directions: Tensor, counts: Tensor) -> Tensor:
        """Evaluate the colour of points from the features that `get_density` returned.

        Args:
            features: (N, F).
            directions: (R, 3) viewing directions, unit length.
            counts: (R,) int64, number of consecutive points along each direction; they sum to N.

        Returns:
            (N, 3) in [0, 1].
        """

    def integrate(self, samples: Samples, directions: Tensor, early_stop_eps: float) -> Tensor:
        """Composite the field along rays, by volume rendering (Max 1995).

        Args:
            samples: N samples along R rays.
            directions: (R, 3) viewing directions, unit length.
            early_stop_eps: samples that less than this share of the light reaches are left out.

        Returns:
            (R, 5): colour, distance and 1, each weighted with the share of the light that every sample stops.
        """
        density, features = self.get_density(samples.positions)
        weights = plain.composite_weights(density * samples.lengths, samples.offsets, early_stop_eps)  # (N,)
        colours = self.get_colour(features, directions, samples.counts)  # (N, 3)
        ones = torch.ones_like(weights)
        values = torch.cat([colours, samples.distances[:, None], ones[:, None]], -1)  # (N, 5)
        return plain.accumulate(weights, values, samples.offsets)

    def rendering_state(self, occupied: Tensor) -> dict[str, Tensor]:
        """Return the state that a snapshot needs to render occupied cells; by default, all parameters.

        Args:
            occupied: (G, G, G) bool over the unit cube, indexed x, y, z.
        """
        del occupied
        return {name: parameter.detach() for name, parameter in self.named_parameters()}

    @torch.no_grad()
    def load_rendering_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `rendering_state` returned; extra entries are ignored."""
        for name, parameter in self.named_parameters():
            parameter.copy_(state[name])


@dataclass(frozen=True)
class FieldSettings(ABC):
    """Hyperparameters of a field: a frozen dataclass that builds it.

    Attributes:
        renderer: name of the model that renders it, one of `nerfcl.models.rendering.MODELS`.
        optimiser_defaults: values that replace the defaults of `OptimiserSettings` for this field.

    Example:
        >>> from nerfcl.models.fields.hash_grid import HashGridSettings
        >>> HashGridSettings().for_images(width=64).resolution
        63
    """

    registry: ClassVar[Registry] = FIELDS
    renderer: ClassVar[str] = "occupancy"
    optimiser_defaults: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def build(self, generator: torch.Generator) -> Field:
        """Build an untrained field; the generator determines its initial values."""

    @property
    def resolution(self) -> int:
        """Resolution along an edge of the cube; determines the step length and the occupancy cells."""
        return 80

    def for_images(self, width: int) -> Self:
        """Return the settings with image-dependent values resolved for images of this width in pixels."""
        del width
        return self
