"""The reference field: a multi-layer perceptron on sines and cosines of the position."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_POSITION_FREQUENCIES, _DIRECTION_FREQUENCIES = 10, 4
_WIDTH, _LAYERS, _SKIP = 256, 8, 4


class NerfField(nn.Module):
    """The network of Mildenhall et al. 2020: eight layers of 256, the input again at the fifth, a branch for colour.

    Args:
        generator: source of the initial values; they are spread as torch's own linear layers are.
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
        for parameter_of in self.modules():
            if isinstance(parameter_of, nn.Linear):
                bound = 1.0 / math.sqrt(parameter_of.in_features)
                nn.init.uniform_(parameter_of.weight, -bound, bound, generator=generator)
                nn.init.uniform_(parameter_of.bias, -bound, bound, generator=generator)

    def forward(self, positions: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Density and colour of points.

        Args:
            positions: (N, 3), world units.
            directions: (N, 3), unit length.

        Returns:
            density (N,) per world unit before it is clipped at zero, and colour (N, 3) in [0, 1].
        """
        embedded = embed(positions, _POSITION_FREQUENCIES)  # (N, 63)
        hidden = embedded
        for index, layer in enumerate(self.layers):
            hidden = torch.relu(layer(torch.cat([embedded, hidden], -1) if index == _SKIP else hidden))  # (N, 256)
        seen = torch.cat([self.features(hidden), embed(directions, _DIRECTION_FREQUENCIES)], -1)  # (N, 283)
        return self.density(hidden)[:, 0], torch.sigmoid(self.colour(torch.relu(self.branch(seen))))


def embed(points: Tensor, frequencies: int) -> Tensor:
    """Positional encoding: the points themselves, then sine and cosine of 1, 2, 4, ... times them.

    Args:
        points: (N, 3).
        frequencies: how many multiples.

    Returns:
        (N, 3 + 6 * frequencies).
    """
    scales = 2.0 ** torch.arange(frequencies, device=points.device, dtype=points.dtype)
    scaled = points[:, None] * scales[:, None]  # (N, K, 3)
    waves = torch.stack([scaled.sin(), scaled.cos()], 2)  # (N, K, 2, 3)
    return torch.cat([points, waves.flatten(1)], -1)
