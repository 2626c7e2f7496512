"""The reference project's field: multi-layer perceptrons with positional encoding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nerfcl.errors import require, require_between
from nerfcl.models.fields.field import Field, FieldSettings

_POSITION_FREQUENCIES, _DIRECTION_FREQUENCIES = 10, 4
_MOST_SAMPLES = 4096  # per ray
_WIDTH, _LAYERS, _SKIP = 256, 8, 4


@dataclass(frozen=True)
class NerfSettings(FieldSettings):
    """A coarse and a fine network, and the sampling of rays (Mildenhall et al. 2020, section 5).

    Attributes:
        samples: coarse samples per ray.
        importance: additional fine samples per ray, drawn by the weights of the coarse ones; 0 is no fine network.
        use_disp: whether coarse samples are evenly spaced in disparity (1 / distance) instead of distance.
        perturb: how far coarse samples are moved at random within their interval in training: 0 not at all, 1 fully.
        noise_std: standard deviation of the noise added to densities in training, before clipping at zero.
        chunk: maximum points evaluated at once when no gradient is needed; bounds memory.

    Example:
        >>> field = NerfSettings(samples=32, importance=64).build(torch.Generator().manual_seed(0))
        >>> sum(parameter.numel() for parameter in field.parameters())
        595844
    """

    renderer: ClassVar[str] = "hierarchical"
    optimiser_defaults: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 5e-4, "betas": (0.9, 0.999), "epsilon": 1e-8, "opacity_weight": 0.0
    }  # fmt: skip

    samples: int = 64
    importance: int = 64
    use_disp: bool = False
    perturb: float = 1.0
    noise_std: float = 1.0
    chunk: int = 32_768

    def __post_init__(self) -> None:
        require(self.samples >= 3, self, "samples", "must be at least 3")
        require(self.importance >= 0, self, "importance", "must not be negative")
        for name in ("samples", "importance"):
            require(getattr(self, name) <= _MOST_SAMPLES, self, name, f"must be at most {_MOST_SAMPLES}")
        require_between(self, "chunk", 1, 2**24)
        for name in ("perturb", "noise_std"):
            require(0.0 <= getattr(self, name) < math.inf, self, name, "must not be negative")

    def build(self, generator: torch.Generator) -> NerfField:
        """Build one untrained network; the generator determines its initial values."""
        return NerfField(generator)


class NerfField(Field):
    """The network of Mildenhall et al. 2020: eight layers of 256, a skip connection to the fifth, a colour branch.

    Args:
        generator: source of the initial values, distributed like the defaults of torch's linear layers.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        position, direction = 3 + 6 * _POSITION_FREQUENCIES, 3 + 6 * _DIRECTION_FREQUENCIES
        inputs = [position] + [_WIDTH + (position if layer == _SKIP else 0) for layer in range(1, _LAYERS)]
        self.layers = nn.ModuleList(nn.Linear(count, _WIDTH) for count in inputs)
        self.density = nn.Linear(_WIDTH, 1)
        self.features = nn.Linear(_WIDTH, _WIDTH)
        self.branch = nn.Linear(_WIDTH + direction, _WIDTH // 2)
        self.colour = nn.Linear(_WIDTH // 2, 3)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                bound = 1.0 / math.sqrt(layer.in_features)
                nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)

    def forward(self, positions: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the raw density and the colour of points.

        Args:
            positions: (N, 3), world units.
            directions: (N, 3) viewing directions, unit length.

        Returns:
            density (N,) per world unit, before clipping at zero, and colour (N, 3) in [0, 1].
        """
        hidden = self._hidden(positions)  # (N, 256)
        return self.density(hidden)[:, 0], self._coloured(hidden, directions)

    def get_density(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate density (N,) and features (N, 256) of points (N, 3); see `Field.get_density`."""
        hidden = self._hidden(positions)
        return torch.relu(self.density(hidden)[:, 0]), hidden

    def get_colour(self, features: Tensor, directions: Tensor, counts: Tensor) -> Tensor:
        """Evaluate the colour (N, 3) of points; see `Field.get_colour`."""
        return self._coloured(features, directions.repeat_interleave(counts, 0))

    def _hidden(self, positions: Tensor) -> Tensor:
        embedded = embed(positions, _POSITION_FREQUENCIES)  # (N, 63)
        hidden = embedded
        for index, layer in enumerate(self.layers):
            hidden = torch.relu(layer(torch.cat([embedded, hidden], -1) if index == _SKIP else hidden))  # (N, 256)
        return hidden

    def _coloured(self, hidden: Tensor, directions: Tensor) -> Tensor:
        seen = torch.cat([self.features(hidden), embed(directions, _DIRECTION_FREQUENCIES)], -1)  # (N, 283)
        return torch.sigmoid(self.colour(torch.relu(self.branch(seen))))


def embed(points: Tensor, frequencies: int) -> Tensor:
    """Apply the positional encoding: the points, then sine and cosine of 1, 2, 4, ... times the points.

    Args:
        points: (N, 3).
        frequencies: number of frequencies.

    Returns:
        (N, 3 + 6 * frequencies).
    """
    scales = 2.0 ** torch.arange(frequencies, device=points.device, dtype=points.dtype)
    scaled = points[:, None] * scales[:, None]  # (N, K, 3)
    waves = torch.stack([scaled.sin(), scaled.cos()], 2)  # (N, K, 2, 3)
    return torch.cat([points, waves.flatten(1)], -1)
