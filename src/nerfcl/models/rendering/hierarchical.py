"""The reference project's renderer: hierarchical sampling with a coarse and a fine network."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from nerfcl.errors import Argument, NerfclError
from nerfcl.models.fields.nerf import NerfField, NerfSettings
from nerfcl.models.rendering.model import ModelSettings, Rendering
from nerfcl.models.rendering.ndc import to_ndc
from nerfcl.randomness import seeded
from nerfcl.scenes.cameras import Rays
from nerfcl.scenes.scene import Colour, Ndc, Scene


@dataclass(frozen=True)
class HierarchicalModelSettings(ModelSettings):
    """A coarse and a fine network on a background, sampled between two distances (Mildenhall et al. 2020, section 5).

    Attributes:
        field: the networks, and their numbers of samples.
        near: distance of the first sample, world units; with `ndc`, a fraction of the way from the near plane to
            infinity.
        far: distance of the last sample, in the same units.
        background: background colour, sRGB in [0, 1].
        ndc: how rays are warped; None disables warping.

    Raises:
        NerfclError: both `use_disp` and `ndc` are set; warped rays are already sampled evenly in disparity.
    """

    field: NerfSettings
    near: float
    far: float
    background: Colour
    ndc: Ndc | None = None

    def __post_init__(self) -> None:
        if self.ndc is not None and self.field.use_disp:
            raise NerfclError(
                Argument("use_disp", True, NerfSettings),
                ": a forward-facing scene is already sampled evenly in disparity, in normalised device coordinates; "
                "leave it out",
            )

    @classmethod
    def for_scene(cls, field: NerfSettings, scene: Scene) -> Self:
        """Return settings whose samples, from every train camera, span the ball that touches the box's edges.

        In normalised device coordinates they span the near plane to infinity.
        """
        if scene.ndc is not None:
            return cls(field, 0.0, 1.0, scene.background, scene.ndc)
        center = torch.tensor(scene.box.lower) + 0.5 * scene.box.side
        distances = (scene.train.poses[:, :3, 3] - center).norm(dim=-1)
        radius = 0.5 * scene.box.side * math.sqrt(2.0)
        near = max(float(distances.min()) - radius, 0.05 * scene.box.side)
        return cls(field, near, float(distances.max()) + radius, scene.background)

    def build(self, seed: int, device: torch.device | str = "cpu") -> HierarchicalModel:
        """Build an untrained model; the seed determines its initial values."""
        coarse = self.field.build(seeded(seed, "model"))
        fine = self.field.build(seeded(seed, "fine model")) if self.field.importance else None
        return HierarchicalModel(self, coarse, fine).to(device)


class HierarchicalModel(nn.Module):
    """A coarse and a fine network on a background.

    Args:
        settings: background, and how rays are sampled. With warped rays, colours still depend on world directions,
            since warped ones vary with the viewpoint; depths are then lengths in warped coordinates.
        coarse: network sampled everywhere along a ray.
        fine: network sampled at the same points and where the coarse one found density; None with `importance` 0.
    """

    background: Tensor

    def __init__(self, settings: HierarchicalModelSettings, coarse: NerfField, fine: NerfField | None) -> None:
        super().__init__()
        self.coarse, self.fine, self.ndc = coarse, fine, settings.ndc
        self.near, self.far, self.sampling = settings.near, settings.far, settings.field
        self.register_buffer("background", torch.tensor(settings.background))

    def render(self, rays: Rays, generator: torch.Generator | None = None) -> Rendering:
        """Render coarse, then fine; see `Model.render`. Coarse colours are returned for training."""
        if torch.is_grad_enabled():
            return self._render(rays, generator)
        points = (2 * self.sampling.samples + self.sampling.importance) * rays.per_pixel
        size = max(self.sampling.chunk // points, 1) * rays.per_pixel
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
        """Do nothing: there is no state besides the parameters."""

    def snapshot(self) -> Self:
        """Return a frozen copy."""
        return copy.deepcopy(self).requires_grad_(False)

    def rendering_state(self) -> Mapping[str, Tensor]:
        """Return all parameters."""
        return self.state_dict()

    def load_rendering_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `rendering_state` returned."""
        self.load_state_dict(state)

    def _render(self, rays: Rays, generator: torch.Generator | None) -> Rendering:
        rays = Rays(rays.origins.to(self.background), rays.directions.to(self.background), rays.per_pixel)
        paths = rays
        distances = self._coarse_distances(len(rays), generator)  # (R, S)
        if self.ndc is not None:
            paths, lengths = to_ndc(rays, self.ndc)
            distances = distances * lengths[:, None]
        total, weights = self._composite(self.coarse, paths, rays.directions, distances, generator)
        samples = distances.numel()
        coarse = None
        if self.fine is not None:
            coarse = self._pixels(total, rays.per_pixel)[0]
            middles = 0.5 * (distances[:, 1:] + distances[:, :-1])  # (R, S - 1)
            more = sample_pdf(middles, weights[:, 1:-1].detach(), self.sampling.importance, generator)
            distances = torch.cat([distances, more], -1).sort(-1).values  # (R, S + I)
            total, _ = self._composite(self.fine, paths, rays.directions, distances, generator)
            samples += distances.numel()
        rgb, depth, opacity = self._pixels(total, rays.per_pixel)
        return Rendering(rgb, depth, opacity, samples, coarse)

    def _coarse_distances(self, rays: int, generator: torch.Generator | None) -> Tensor:
        """Place the coarse samples at distances (R, S)."""
        near, far = self.near, self.far
        fraction = torch.linspace(0.0, 1.0, self.sampling.samples).to(self.background)
        if self.sampling.use_disp:
            distances = 1.0 / (1.0 / near * (1.0 - fraction) + 1.0 / far * fraction)
        else:
            distances = near * (1.0 - fraction) + far * fraction
        distances = distances.expand(rays, -1)
        if generator is None or not self.sampling.perturb:
            return distances
        middles = 0.5 * (distances[:, 1:] + distances[:, :-1])
        upper, lower = torch.cat([middles, distances[:, -1:]], -1), torch.cat([distances[:, :1], middles], -1)
        drawn = torch.rand(distances.shape, generator=generator).to(distances)
        return lower + (upper - lower) * self.sampling.perturb * drawn

    def _composite(
        self,
        network: NerfField,
        paths: Rays,
        directions: Tensor,
        distances: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """Evaluate a network: colour, depth and opacity (R, 5), and the samples' weights (R, S)."""
        positions = paths.origins[:, None] + distances[..., None] * paths.directions[:, None]  # (R, S, 3)
        density, colour = network(positions.flatten(0, 1), directions.repeat_interleave(distances.shape[1], 0))
        density = density.view_as(distances)
        if generator is not None and self.sampling.noise_std:
            noise = torch.randn(density.shape, generator=generator).to(density)
            density = density + noise * self.sampling.noise_std
        # The last sample extends to infinity; a ray of zero length hits nothing.
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
        """Average each pixel's rays: colour (P, 3) on the background, depth (P,) and opacity (P,)."""
        total = total.view(-1, per_pixel, 5).mean(1)
        opacity = total[:, 4]
        return total[:, :3] + (1.0 - opacity)[:, None] * self.background, total[:, 3], opacity


def sample_pdf(edges: Tensor, weights: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Sample a piecewise-constant density along each ray by inverting its cumulative distribution.

    Args:
        edges: (R, B + 1) bin edges, ascending.
        weights: (R, B) probabilities of the bins, non-negative, up to a factor.
        count: samples per ray.
        generator: source of randomness; None takes evenly spaced quantiles.

    Returns:
        (R, count) values between the first and the last edge.
    """
    mass = weights + 1e-5  # keeps every bin possible and avoids division by zero on empty rays
    cdf = (mass / mass.sum(-1, keepdim=True)).cumsum(-1)
    cdf = torch.cat([torch.zeros_like(cdf[:, :1]), cdf], -1)  # (R, B + 1)
    if generator is None:
        drawn = torch.linspace(0.0, 1.0, count).to(cdf).expand(len(cdf), count).contiguous()
    else:
        drawn = torch.rand(len(cdf), count, generator=generator).to(cdf)
    above = torch.searchsorted(cdf, drawn, right=True).clamp(1, cdf.shape[1] - 1)
    low, high = cdf.gather(1, above - 1), cdf.gather(1, above)
    left, right = edges.gather(1, above - 1), edges.gather(1, above)
    return left + ((drawn - low) / (high - low).clamp(min=1e-10)).clamp(0.0, 1.0) * (right - left)
