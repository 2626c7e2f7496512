"""The default field: a multi-resolution hash grid with two small networks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from nerfcl.errors import require, require_between
from nerfcl.models import kernels
from nerfcl.models.fields.field import Field, FieldSettings

_LARGEST_LOG_DENSITY = 11.0
_HARMONICS = 16
_MAX_POINTS = 2**20  # encoded at once
_LARGEST_TABLE = 2**22  # entries per level
_COARSEST_FINE, _FINEST = 32, 4096  # bounds of an image-dependent finest level, cells along each axis


@dataclass(frozen=True)
class HashGridSettings(FieldSettings):
    """Hyperparameters of a `HashGridField`.

    Attributes:
        max_resolution: cells along each axis of the finest level; cells about the size of a pixel's footprint
            generalise best. None gives an edge as many vertices as the images have columns.
        base_resolution: cells along each axis of the coarsest level.
        levels: number of levels.
        features_per_level: features of a table entry, 2 or 4.
        table_size: maximum entries per level, a power of two; larger levels are hashed.
        width: width of the networks' hidden layers.
        geometry_features: features that the density network passes to the colour network.
        log_density: logarithm of the approximate density (per world unit) of an untrained field; a thin fog lets
            gradients reach every depth and is quickly cleared.

    Example:
        >>> field = HashGridSettings(max_resolution=32).build(torch.Generator().manual_seed(0))
        >>> density, features = field.get_density(torch.rand(5, 3))
        >>> density.shape, features.shape
        (torch.Size([5]), torch.Size([5, 16]))
    """

    max_resolution: int | None = None
    base_resolution: int = 16
    levels: int = 5
    features_per_level: int = 4
    table_size: int = 2**18
    width: int = 32
    geometry_features: int = 16
    log_density: float = 0.0

    def __post_init__(self) -> None:
        in_range = self.max_resolution is None or self.base_resolution <= self.max_resolution <= _FINEST
        require(in_range, self, "max_resolution", f"must lie between {self.base_resolution} and {_FINEST}")
        require_between(self, "base_resolution", 1, _FINEST)
        limits = {"levels": 16, "width": 1024, "geometry_features": 1024, "table_size": _LARGEST_TABLE}
        for name, most in limits.items():
            require_between(self, name, 1, most)
        require(self.features_per_level in (2, 4), self, "features_per_level", "must be 2 or 4")
        require(self.table_size.bit_count() == 1, self, "table_size", "must be a power of two")
        require(abs(self.log_density) <= _LARGEST_LOG_DENSITY, self, "log_density", "must lie between -11 and 11")

    @property
    def resolution(self) -> int:
        """Cells along each axis of the finest level."""
        require(self.max_resolution is not None, self, "max_resolution", "must be given where there are no images")
        assert self.max_resolution is not None  # for the type checker
        return self.max_resolution

    def for_images(self, width: int) -> HashGridSettings:
        """Resolve the finest level for images of this width in pixels."""
        if self.max_resolution is not None:
            return self
        fine = max(width - 1, _COARSEST_FINE, self.base_resolution)
        return replace(self, max_resolution=min(fine, _FINEST))

    def build(self, generator: torch.Generator) -> HashGridField:
        """Build an untrained field; the generator determines its initial values."""
        return HashGridField(self, generator)


class HashGridField(Field):
    """Multi-resolution hash encoding (Müller et al. 2022, "instant neural graphics primitives") and two networks.

    Args:
        settings: hyperparameters, with `max_resolution` resolved.
        generator: source of the initial values.
    """

    def __init__(self, settings: HashGridSettings, generator: torch.Generator) -> None:
        super().__init__()
        self.levels = kernels.geometric_levels(
            settings.base_resolution, settings.resolution, settings.levels, settings.table_size,
            settings.features_per_level,
        )  # fmt: skip
        self.log_density = settings.log_density
        width, features = settings.width, settings.geometry_features
        table = torch.rand(self.levels.entries, self.levels.features, generator=generator)
        self.table = nn.Parameter((table * 2.0 - 1.0) * 1e-2)
        self.gradients = kernels.GradientBuffers()
        self.density_network = _layers([self.levels.width, width, features], generator)
        self.colour_network = _layers([features + _HARMONICS, width, width, 3], generator)

    def get_density(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate density (N,) and features (N, G) of points (N, 3); see `Field.get_density`."""
        if kernels.is_compiled_for(self.table) and not torch.is_grad_enabled():
            from nerfcl.models.kernels.compiled.grid_rendering import grid_features

            features = grid_features(positions, self.levels, self.table, [*self.density_network])  # (N, G)
        else:
            features = mlp(kernels.encode(positions, self.table, self.levels), *self.density_network)  # (N, G)
        log_density = (features[:, 0] + self.log_density).clamp(max=_LARGEST_LOG_DENSITY)
        return torch.exp(log_density), features

    def get_colour(self, features: Tensor, directions: Tensor, counts: Tensor) -> Tensor:
        """Evaluate the colour (N, 3) of points; see `Field.get_colour`."""
        seen = spherical_harmonics(directions).repeat_interleave(counts, 0)  # (N, 16)
        return torch.sigmoid(mlp(torch.cat([features, seen], -1), *self.colour_network))

    def integrate(self, samples: kernels.Samples, directions: Tensor, early_stop_eps: float) -> Tensor:
        """Composite the field along rays (R, 5); see `Field.integrate`."""
        if not kernels.is_compiled_for(self.table):
            return super().integrate(samples, directions, early_stop_eps)
        from nerfcl.models.kernels.compiled.grid_rendering import GridRadiance, render_grid

        grid = GridRadiance(self.levels, self.log_density, _LARGEST_LOG_DENSITY, early_stop_eps, self.gradients)
        return render_grid(samples, directions, grid, self.table, [*self.density_network], [*self.colour_network])

    def rendering_state(self, occupied: Tensor) -> dict[str, Tensor]:
        """Return all parameters; table entries that no sample in an occupied cell reads are 0, to compress well."""
        state = super().rendering_state(occupied)
        return {**state, "table": state["table"] * self._read_entries(occupied)[:, None]}

    def _read_entries(self, occupied: Tensor) -> Tensor:
        """Mark the table entries (E,) that interpolation in occupied cells (G, G, G) reads with 1, others with 0."""
        count = occupied.shape[0]
        # Fine enough for a point in every cell of the finest level that an occupancy cell touches.
        side = -(-int(self.levels.resolutions[-1]) // count) + 1
        inside = torch.linspace(1e-3, 1.0 - 1e-3, side, device=occupied.device)
        points = torch.stack(torch.meshgrid(inside, inside, inside, indexing="ij"), -1).view(-1, 3)
        table = torch.zeros_like(self.table, requires_grad=True)
        with torch.enable_grad():
            for cells in occupied.nonzero().split(max(_MAX_POINTS // len(points), 1)):
                positions = ((cells[:, None] + points) / count).reshape(-1, 3)
                kernels.encode(positions, table, self.levels).sum().backward()
        if table.grad is None:
            return torch.zeros(len(table), device=occupied.device)
        return (table.grad[:, 0] != 0.0).float()


def mlp(inputs: Tensor, *weights: Tensor) -> Tensor:
    """Evaluate a multi-layer perceptron without biases, with ReLU between its layers.

    Args:
        inputs: (N, C0).
        weights: matrices (C0, C1), (C1, C2), ...

    Returns:
        (N, C_last), linear.
    """
    hidden = inputs
    for weight in weights[:-1]:
        hidden = torch.relu(hidden @ weight)
    return hidden @ weights[-1]


def _layers(widths: list[int], generator: torch.Generator) -> nn.ParameterList:
    """Draw weight matrices (in, out) from a normal distribution with variance 2 / in (He et al. 2015)."""
    return nn.ParameterList(
        nn.Parameter(torch.randn(a, b, generator=generator) * math.sqrt(2.0 / a)) for a, b in pairwise(widths)
    )


def spherical_harmonics(directions: Tensor) -> Tensor:
    """Evaluate the real spherical harmonics up to degree 3.

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
