"""A compact distribution of cameras, fitted to those seen, from which new ones are sampled."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nerfcl.scenes.lenses import PINHOLE
from nerfcl.scenes.scene import Views
from nerfcl.streams.pixels import Pixels

_SIZE = 9  # values per camera: position, viewing direction, up


class PoseMixture:
    """A Gaussian mixture over position, viewing direction and up, and the mean intrinsics of all cameras seen.

    Their lens, where it is no pinhole, is that of the last.

    A new camera is a Gaussian of zero extent; while there are too many, the two whose merging increases the variance
    least (Ward 1963) are merged by moment matching. Eight of them, 1.8 KB, thus represent any number of cameras, and
    the order of cameras hardly matters. All images must have the same size.

    Args:
        components: maximum number of Gaussians.
    """

    def __init__(self, components: int = 8) -> None:
        self.components = components
        self.weights = torch.zeros(0)
        self.means = torch.zeros(0, _SIZE)
        self.covariances = torch.zeros(0, _SIZE, _SIZE)
        self.intrinsics = torch.zeros(PINHOLE)  # mean over all
        self.size = torch.zeros(2, dtype=torch.int32)  # width, height

    def __len__(self) -> int:
        """Count the cameras seen."""
        return int(self.weights.sum())

    @property
    def nbytes(self) -> int:
        """Bytes of everything kept; of each symmetric covariance, one triangle is counted."""
        count = len(self.weights)
        return 4 * (count * (1 + _SIZE + _SIZE * (_SIZE + 1) // 2) + len(self.intrinsics) + 2)

    def add(self, views: Views) -> None:
        """Add the cameras of views."""
        before = len(self)
        mean = views.intrinsics[:, :PINHOLE].mean(0)
        mean = torch.lerp(self.intrinsics[:PINHOLE], mean, len(views) / (before + len(views)))
        self.intrinsics = torch.cat([mean, views.intrinsics[-1, PINHOLE:]])
        self.size = torch.tensor([views.width, views.height], dtype=torch.int32)
        for pose in views.poses:
            numbers = torch.cat([pose[:3, 3], -pose[:3, 2], pose[:3, 1]])
            self.weights = torch.cat([self.weights, torch.ones(1)])
            self.means = torch.cat([self.means, numbers[None]])
            self.covariances = torch.cat([self.covariances, torch.zeros(1, _SIZE, _SIZE)])
            while len(self.weights) > self.components:
                self._merge(*self._closest())

    def sample_pixels(self, count: int, generator: torch.Generator) -> Pixels:
        """Draw `count` random pixels, each of its own random camera, without colours; needs at least one camera."""
        width, height = self.size.tolist()
        pixels = torch.randint(width * height, (count,), generator=generator)
        poses, intrinsics = self.sample_poses(count, generator), self.intrinsics.expand(count, -1)
        return Pixels(poses, intrinsics, pixels % width, pixels // width, torch.zeros(count, 3), pixels, new=0)

    def sample_poses(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw (count, 4, 4) random poses, world from camera; needs at least one camera."""
        chosen = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        variances, axes = torch.linalg.eigh(self.covariances.double())  # some are singular, so no Cholesky factors
        roots = (axes * variances.clamp(min=0.0).sqrt()[:, None]).float()
        drawn = torch.randn(count, _SIZE, 1, generator=generator)
        numbers = self.means[chosen] + (roots[chosen] @ drawn)[..., 0]
        position, forward, up = numbers.split(3, 1)
        back = -functional.normalize(forward, dim=1)
        right = functional.normalize(torch.linalg.cross(up, back), dim=1)
        columns = [right, torch.linalg.cross(back, right), back, position]
        poses = torch.zeros(count, 4, 4)
        poses[:, :3] = torch.stack(columns, -1)
        poses[:, 3, 3] = 1.0
        return poses

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs."""
        return {name: getattr(self, name) for name in ("weights", "means", "covariances", "intrinsics", "size")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name in self.state_dict():
            setattr(self, name, state[name])

    def _closest(self) -> tuple[int, int]:
        """Find the two components whose merging increases the variance least; positions are scaled by their spread."""
        scale = torch.ones(_SIZE)
        scale[:3] = self.means[:, :3].std(0).norm().clamp(min=1e-6)
        apart = torch.cdist(self.means / scale, self.means / scale).square()
        pair = self.weights[:, None] * self.weights / (self.weights[:, None] + self.weights)
        growth = (apart * pair).fill_diagonal_(torch.inf)
        first, second = divmod(int(growth.argmin()), len(growth))
        return first, second

    def _merge(self, first: int, second: int) -> None:
        """Merge two components by moment matching."""
        a, b = self.weights[first], self.weights[second]
        fraction = b / (a + b)
        apart = self.means[second] - self.means[first]
        mean = self.means[first] + fraction * apart
        covariance = torch.lerp(self.covariances[first], self.covariances[second], fraction)
        covariance = covariance + fraction * (1.0 - fraction) * torch.outer(apart, apart)
        rest = [i for i in range(len(self.weights)) if i not in (first, second)]
        self.weights = torch.cat([self.weights[rest], (a + b)[None]])
        self.means = torch.cat([self.means[rest], mean[None]])
        self.covariances = torch.cat([self.covariances[rest], covariance[None]])
