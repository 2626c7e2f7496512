"""Two networks, coarse and fine: the second looks where the first saw something."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nerfcl.models.fields.nerf import NerfField
from nerfcl.models.rendering.model import Rendering
from nerfcl.models.rendering.ndc import to_ndc
from nerfcl.scenes.cameras import Rays
from nerfcl.scenes.scene import Ndc


@dataclass(frozen=True)
class HierarchicalSettings:
    """How rays are sampled (Mildenhall et al. 2020, section 5).

    Attributes:
        near: distance of the first sample, world units; in normalised device coordinates a share of the way from the
            near plane to infinity.
        far: distance of the last sample, likewise.
        samples: samples of the coarse network along a ray.
        importance: further samples of the fine network, drawn where the coarse one saw something; 0 is no fine network.
        use_disp: whether coarse samples are evenly spread in disparity (1 / distance) instead of distance.
        perturb: how far training moves coarse samples at random within their stretch: 0 not at all, 1 fully.
        noise_std: deviation of the noise that training adds to densities before they are clipped at zero.
        chunk: the most points that are evaluated at once when no gradient is needed.
    """

    near: float
    far: float
    samples: int = 64
    importance: int = 64
    use_disp: bool = False
    perturb: float = 1.0
    noise_std: float = 1.0
    chunk: int = 32_768


class HierarchicalModel(nn.Module):
    """A coarse and a fine network on a background.

    Args:
        coarse: looks everywhere along a ray.
        fine: looks there, too, and where the coarse one saw something; None with `importance` 0.
        background: (3,) colour behind everything.
        settings: how rays are sampled.
        ndc: warps the rays; None is the world as it is. Colours depend on directions in the world all the same, since
            a warped one changes with the place that it is seen from. Depths are then lengths in these coordinates.
    """

    background: Tensor

    def __init__(
        self,
        coarse: NerfField,
        fine: NerfField | None,
        background: tuple[float, float, float],
        settings: HierarchicalSettings,
        ndc: Ndc | None = None,
    ) -> None:
        super().__init__()
        self.coarse, self.fine, self.settings, self.ndc = coarse, fine, settings, ndc
        self.register_buffer("background", torch.tensor(background))

    def render(self, rays: Rays, generator: torch.Generator | None = None) -> Rendering:
        """Coarse, then fine; see `Model.render`. The coarse colours come along, since they are trained, too."""
        if torch.is_grad_enabled():
            return self._render(rays, generator)
        points = (2 * self.settings.samples + self.settings.importance) * rays.per_pixel
        size = max(self.settings.chunk // points, 1) * rays.per_pixel
        parts = [
            self._render(Rays(rays.origins[i : i + size], rays.directions[i : i + size], rays.per_pixel), generator)
            for i in range(0, max(len(rays), 1), size)
        ]
        return Rendering(
            torch.cat([part.rgb for part in parts]),
            torch.cat([part.depth for part in parts]),
            torch.cat([part.opacity for part in parts]),
            sum(part.samples for part in parts),
            torch.cat([part.coarse for part in parts if part.coarse is not None]) if self.fine else None,
        )

    def begin_step(self, generator: torch.Generator) -> None:
        """Nothing is kept beside the parameters."""

    def snapshot(self) -> HierarchicalModel:
        """A frozen copy."""
        return copy.deepcopy(self).requires_grad_(False)

    def rendering_state(self) -> Mapping[str, Tensor]:
        """All parameters."""
        return self.state_dict()

    def load_rendering_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `rendering_state` gave."""
        self.load_state_dict(state)

    def _render(self, rays: Rays, generator: torch.Generator | None) -> Rendering:
        rays = Rays(rays.origins.to(self.background), rays.directions.to(self.background), rays.per_pixel)
        paths = rays
        distances = self._spread(len(rays), generator)  # (R, S)
        if self.ndc is not None:
            paths, lengths = to_ndc(rays, self.ndc)
            distances = distances * lengths[:, None]
        total, weights = self._look(self.coarse, paths, rays.directions, distances, generator)
        samples = distances.numel()
        coarse = None
        if self.fine is not None:
            coarse = self._pixels(total, rays.per_pixel)[0]
            middles = 0.5 * (distances[:, 1:] + distances[:, :-1])  # (R, S - 1)
            more = draw_by_weight(middles, weights[:, 1:-1].detach(), self.settings.importance, generator)
            distances = torch.cat([distances, more], -1).sort(-1).values  # (R, S + I)
            total, _ = self._look(self.fine, paths, rays.directions, distances, generator)
            samples += distances.numel()
        rgb, depth, opacity = self._pixels(total, rays.per_pixel)
        return Rendering(rgb, depth, opacity, samples, coarse)

    def _spread(self, rays: int, generator: torch.Generator | None) -> Tensor:
        """Distances (R, S) of the coarse samples."""
        near, far = self.settings.near, self.settings.far
        share = torch.linspace(0.0, 1.0, self.settings.samples).to(self.background)
        if self.settings.use_disp:
            distances = 1.0 / (1.0 / near * (1.0 - share) + 1.0 / far * share)
        else:
            distances = near * (1.0 - share) + far * share
        distances = distances.expand(rays, -1)
        if generator is None or not self.settings.perturb:
            return distances
        middles = 0.5 * (distances[:, 1:] + distances[:, :-1])
        upper, lower = torch.cat([middles, distances[:, -1:]], -1), torch.cat([distances[:, :1], middles], -1)
        drawn = torch.rand(distances.shape, generator=generator).to(distances)
        return lower + (upper - lower) * self.settings.perturb * drawn

    def _look(
        self,
        network: NerfField,
        paths: Rays,
        directions: Tensor,
        distances: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """What a network sees: colour, depth and opacity (R, 5) and the samples' weights (R, S)."""
        positions = paths.origins[:, None] + distances[..., None] * paths.directions[:, None]  # (R, S, 3)
        density, colour = network(positions.flatten(0, 1), directions.repeat_interleave(distances.shape[1], 0))
        density = density.view_as(distances)
        if generator is not None and self.settings.noise_std:
            noise = torch.randn(density.shape, generator=generator).to(density)
            density = density + noise * self.settings.noise_std
        # The last sample stands for all that lies behind it; a ray without length sees nothing.
        behind = 1e10 * (distances[:, -1:] > 0.0).to(distances)
        lengths = torch.cat([distances[:, 1:] - distances[:, :-1], behind], -1)
        thickness = torch.relu(density) * lengths
        before = torch.cat([torch.zeros_like(thickness[:, :1]), thickness[:, :-1].cumsum(-1)], -1)
        weights = torch.exp(-before) * -torch.expm1(-thickness)  # (R, S)
        values = torch.cat(
            [colour.view(*distances.shape, 3), distances[..., None], torch.ones_like(distances)[..., None]], -1
        )
        return (weights[..., None] * values).sum(1), weights

    def _pixels(self, total: Tensor, per_pixel: int) -> tuple[Tensor, Tensor, Tensor]:
        """Colour (P, 3) on the background, depth (P,) and opacity (P,), means over each pixel's rays."""
        total = total.view(-1, per_pixel, 5).mean(1)
        opacity = total[:, 4]
        return total[:, :3] + (1.0 - opacity)[:, None] * self.background, total[:, 3], opacity


def draw_by_weight(edges: Tensor, weights: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Inverse transform sampling of a piecewise constant density along each ray.

    Args:
        edges: (R, B + 1) ends of the pieces, ascending.
        weights: (R, B), not negative; how much falls into each piece, up to a factor.
        count: how many to draw a ray.
        generator: where randomness comes from; None spreads the draws evenly over the distribution.

    Returns:
        (R, count) values between the first and the last edge.
    """
    shares = weights + 1e-5  # nothing is impossible, and an empty ray is no division by zero
    cdf = (shares / shares.sum(-1, keepdim=True)).cumsum(-1)
    cdf = torch.cat([torch.zeros_like(cdf[:, :1]), cdf], -1)  # (R, B + 1)
    if generator is None:
        drawn = torch.linspace(0.0, 1.0, count).to(cdf).expand(len(cdf), count).contiguous()
    else:
        drawn = torch.rand(len(cdf), count, generator=generator).to(cdf)
    above = torch.searchsorted(cdf, drawn, right=True).clamp(1, cdf.shape[1] - 1)
    low, high = cdf.gather(1, above - 1), cdf.gather(1, above)
    left, right = edges.gather(1, above - 1), edges.gather(1, above)
    return left + ((drawn - low) / (high - low).clamp(min=1e-10)).clamp(0.0, 1.0) * (right - left)
