"""The reference project's network and training step, written out for comparison of speed only.

Coarse and fine 8x256 MLPs with a skip at layer 4, 10 and 4 frequencies, 64 + 128 samples a ray (Mildenhall et al.
2020).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def embed(x: Tensor, frequencies: int) -> Tensor:
    """(N, 3) -> (N, 3 + 6 * frequencies): the raw input, then sines and cosines of its multiples by powers of two."""
    scaled = x[:, None] * (2.0 ** torch.arange(frequencies, device=x.device))[:, None]  # (N, K, 3)
    return torch.cat([x[:, None], scaled.sin(), scaled.cos()], 1).flatten(1)


class Network(nn.Module):
    """One of the two 8x256 MLPs."""

    def __init__(self) -> None:
        super().__init__()
        inputs = [63, 256, 256, 256, 256 + 63, 256, 256, 256]
        self.layers = nn.ModuleList(nn.Linear(count, 256) for count in inputs)
        self.density, self.features = nn.Linear(256, 1), nn.Linear(256, 256)
        self.branch, self.colour = nn.Linear(256 + 27, 128), nn.Linear(128, 3)

    def forward(self, positions: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Density (N,) and colour (N, 3) at positions (N, 3) seen along directions (N, 3)."""
        embedded = embed(positions, 10)
        hidden = embedded
        for i, layer in enumerate(self.layers):
            hidden = layer(torch.cat([embedded, hidden], -1) if i == 4 else hidden).relu()
        seen = torch.cat([self.features(hidden), embed(directions, 4)], -1)
        return self.density(hidden)[:, 0].relu(), self.colour(self.branch(seen).relu()).sigmoid()


def composite(network: Network, origins: Tensor, directions: Tensor, depths: Tensor) -> tuple[Tensor, Tensor]:
    """Colours (R, 3) on white and weights (R, S) of samples at depths (R, S)."""
    rays, samples = depths.shape
    positions = origins[:, None] + depths[..., None] * directions[:, None]  # (R, S, 3)
    along = directions[:, None].expand_as(positions)
    density, colour = network(positions.reshape(-1, 3), along.reshape(-1, 3))
    lengths = torch.cat([depths[:, 1:] - depths[:, :-1], torch.full_like(depths[:, :1], 1e10)], -1)
    alpha = 1.0 - torch.exp(-density.view(rays, samples) * lengths)
    light = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1.0 - alpha + 1e-10], -1), -1)[:, :-1]
    weights = alpha * light
    rgb = (weights[..., None] * colour.view(rays, samples, 3)).sum(1)
    return rgb + 1.0 - weights.sum(-1, keepdim=True), weights


def importance(depths: Tensor, weights: Tensor, count: int) -> Tensor:
    """Depths (R, count) drawn by inverse transform from the piecewise constant density that weights (R, S) give."""
    middles = 0.5 * (depths[:, 1:] + depths[:, :-1])
    shares = weights[:, 1:-1] + 1e-5
    cdf = torch.cumsum(shares / shares.sum(-1, keepdim=True), -1)
    cdf = torch.cat([torch.zeros_like(cdf[:, :1]), cdf], -1)
    drawn = torch.rand(len(depths), count, device=depths.device)
    right = torch.searchsorted(cdf, drawn, right=True).clamp(1, cdf.shape[1] - 1)
    low, high = cdf.gather(1, right - 1), cdf.gather(1, right)
    a, b = middles.gather(1, right - 1), middles.gather(1, right)
    return a + (drawn - low) / (high - low).clamp(min=1e-5) * (b - a)


class ReferenceStep:
    """A callable that does one training step on 1024 rays: forward, backward, Adam."""

    def __init__(self, rays: int = 1024, device: torch.device | str = "cpu") -> None:
        self.coarse, self.fine = Network().to(device), Network().to(device)
        self.optimiser = torch.optim.Adam([*self.coarse.parameters(), *self.fine.parameters()], lr=5e-4)
        self.directions = nn.functional.normalize(torch.randn(rays, 3, device=device), dim=-1)
        self.origins, self.targets = -4.0 * self.directions, torch.rand(rays, 3, device=device)

    def __call__(self) -> float:
        rays = len(self.origins)
        device = self.origins.device
        edges = torch.linspace(2.0, 6.0, 65, device=device)
        depths = edges[:-1] + (edges[1:] - edges[:-1]) * torch.rand(rays, 64, device=device)
        rgb, weights = composite(self.coarse, self.origins, self.directions, depths)
        finer = torch.cat([depths, importance(depths, weights.detach(), 128)], -1).sort(-1).values
        fine, _ = composite(self.fine, self.origins, self.directions, finer)
        loss = (rgb - self.targets).square().mean() + (fine - self.targets).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        value = loss.item()
        assert math.isfinite(value)
        return value
