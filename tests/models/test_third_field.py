"""A field that nobody registered, a dense voxel grid, works as those that come along: only its own code is new."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nerfcl.memory.snapshots import Snapshot, SnapshotSettings
from nerfcl.models.fields.field import Field, FieldSettings
from nerfcl.models.rendering.occupancy import OccupancyModel, OccupancyModelSettings
from nerfcl.models.settings import model_settings
from nerfcl.randomness import seeded
from nerfcl.scenes import load_scene
from nerfcl.scenes.cameras import pixel_offsets, pixel_rays
from nerfcl.scenes.scene import Scene
from nerfcl.streams.pixels import Pixels, pixels_at
from nerfcl.training.optimisers import make_optimiser
from nerfcl.training.settings import OptimiserSettings


@dataclass(frozen=True)
class VoxelGridSettings(FieldSettings):
    cells: int = 24  # along each axis

    @property
    def resolution(self) -> int:
        return self.cells

    def build(self, generator: torch.Generator) -> VoxelGrid:
        return VoxelGrid(self, generator)


class VoxelGrid(Field):
    """Density and a colour that is the same from everywhere, on the vertices of a grid, interpolated trilinearly."""

    def __init__(self, settings: VoxelGridSettings, generator: torch.Generator) -> None:
        super().__init__()
        self.vertices = nn.Parameter(0.1 * torch.randn(1, 4, *[settings.cells + 1] * 3, generator=generator))

    def get_density(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        places = 2.0 * positions.flip(-1)[None, None, None] - 1.0  # grid_sample wants z, y, x
        values = functional.grid_sample(self.vertices, places, align_corners=True)[0, :, 0, 0]  # (4, N)
        return functional.softplus(10.0 * values[0] - 1.0), values[1:].T

    def get_colour(self, features: Tensor, directions: Tensor, counts: Tensor) -> Tensor:
        return torch.sigmoid(features)

    def rendering_state(self, occupied: Tensor) -> dict[str, Tensor]:
        """Only vertices of occupied cells are kept: the renderer's cells are the grid's."""
        corners = functional.max_pool3d(functional.pad(occupied[None].float(), [1] * 6), 2, stride=1)
        return {"vertices": self.vertices.detach() * corners}


@pytest.fixture(scope="module")
def scene(shared_scene: Path) -> Scene:
    return load_scene(shared_scene)


@pytest.fixture(scope="module")
def settings(scene: Scene) -> OccupancyModelSettings:
    settings = model_settings(scene, VoxelGridSettings())
    assert isinstance(settings, OccupancyModelSettings)
    return dataclasses.replace(settings, occupancy=dataclasses.replace(settings.occupancy, update_every=8))


def render(model: OccupancyModel, pixels: Pixels, generator: torch.Generator | None = None) -> Tensor:
    rays = pixel_rays(pixels.poses, pixels.intrinsics, pixels.columns, pixels.rows, pixel_offsets(1))
    return model.render(rays, generator).rgb


def loss_of(model: OccupancyModel, pixels: Pixels, generator: torch.Generator | None = None) -> Tensor:
    return (render(model, pixels, generator) - pixels.colours).square().mean()


@pytest.fixture(scope="module")
def trained(scene: Scene, settings: OccupancyModelSettings) -> OccupancyModel:
    model, generator = settings.build(3), seeded(3, "training")
    optimiser = make_optimiser(model.parameters(), OptimiserSettings())
    for _ in range(150):
        model.begin_step(generator)
        drawn = torch.randint(scene.train.pixels, (256,), generator=generator)
        loss_of(model, pixels_at(scene.train, drawn), generator).backward()
        optimiser.step(0.1)
    return model


@pytest.fixture(scope="module")
def pixels(scene: Scene) -> Pixels:
    return pixels_at(scene.train, torch.arange(scene.train.pixels))


def test_settings_of_a_scene_follow_the_resolution(scene: Scene) -> None:
    settings = model_settings(scene, VoxelGridSettings(cells=20))
    assert isinstance(settings, OccupancyModelSettings)
    assert (settings.box, settings.background) == (scene.box, scene.background)
    assert (settings.occupancy.cells, settings.occupancy.steps) == (20, 40)
    one, same, other = (settings.build(seed).field.state_dict()["vertices"] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@torch.no_grad()
def test_training_lowers_the_loss_and_leaves_most_cells_empty(
    pixels: Pixels, settings: OccupancyModelSettings, trained: OccupancyModel
) -> None:
    assert loss_of(trained, pixels) < 0.05 * loss_of(settings.build(3), pixels)
    occupied = (trained.occupancy >= trained.occ_threshold).float().mean().item()
    assert 0.1 < occupied < 0.4  # the ball fills a sixth of its box


@torch.no_grad()
def test_a_snapshot_packs_what_the_field_says_and_renders_as_the_model(
    pixels: Pixels, settings: OccupancyModelSettings, trained: OccupancyModel
) -> None:
    state, other = trained.rendering_state(), settings.build(5)
    assert 0.2 < (state["vertices"] != 0.0).float().mean() < 0.7
    other.load_rendering_state(state)
    expected = render(trained, pixels)
    assert (render(other, pixels) - expected).square().mean() < 1e-5

    snapshot = Snapshot(SnapshotSettings(bits=8))
    snapshot.take(trained)
    assert snapshot.nbytes < 0.8 * state["vertices"].numel()  # a byte for each vertex that is kept
    snapshot.unpack(settings.build(6))
    assert (snapshot.render(pixels).rgb - expected).square().mean() < 1e-5
