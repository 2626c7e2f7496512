"""Frozen models in few bytes, against the models themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nerfcl.errors import NerfclError
from nerfcl.memory.snapshots import Snapshot, SnapshotSettings
from nerfcl.models.fields.hash_grid import HashGridField, HashGridSettings
from nerfcl.models.fields.nerf import NerfSettings
from nerfcl.models.rendering.hierarchical import HierarchicalModelSettings
from nerfcl.models.rendering.model import Model
from nerfcl.models.rendering.occupancy import OccupancyModel, OccupancyModelSettings, OccupancySettings
from nerfcl.randomness import seeded
from nerfcl.scenes.cameras import pixel_offsets, pixel_rays
from nerfcl.scenes.scene import Box
from nerfcl.streams.pixels import Pixels


def grid_model(table_size: int = 2**19, max_resolution: int = 24) -> OccupancyModel:
    """Blobs of matter that its occupancy grid has found: about half of the cells are empty."""
    field = HashGridSettings(max_resolution, base_resolution=8, levels=3, table_size=table_size)
    occupancy = OccupancySettings(16, 32, occ_threshold=0.05, update_every=1)
    model = OccupancyModelSettings(field, Box.around((0.0, 0.0, 0.0), 2.0), occupancy=occupancy).build(0)
    assert isinstance(model.field, HashGridField)
    with torch.no_grad():
        model.field.table.copy_(torch.randn(model.field.table.shape, generator=seeded(0, "table")) * 0.35)
        for weights in model.field.density_network:
            weights *= 2.0
    for _ in range(12):
        model.begin_step(seeded(1, "step"))
    occupied = (model.occupancy >= model.occ_threshold).float().mean()
    assert 0.1 < occupied < 0.9
    return model


def network_model() -> Model:
    return HierarchicalModelSettings(NerfSettings(8, 8), near=1.0, far=5.0, background=(1.0, 1.0, 1.0)).build(0)


def table_of(model: OccupancyModel) -> torch.nn.Parameter:
    assert isinstance(model.field, HashGridField)
    return model.field.table


def some_pixels(count: int = 200) -> Pixels:
    """Pixels of cameras all around at a distance of 3, looking at the middle."""
    generator = seeded(2, "pixels")
    back = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([[0.0, 0.0, 1.0]]).expand(count, 3), back))
    poses = torch.eye(4).repeat(count, 1, 1)
    poses[:, :3] = torch.stack([right, torch.linalg.cross(back, right), back, 3.0 * back], -1)
    columns, rows = torch.randint(16, (2, count), generator=generator)
    lenses = torch.tensor([22.0, 22.0, 8.0, 8.0]).expand(count, 4)
    return Pixels(poses, lenses, columns, rows, torch.zeros(count, 3), columns, new=0)


@torch.no_grad()
def rendered_by(model: Model, pixels: Pixels) -> torch.Tensor:
    """The colours of pixels, by one ray through the middle of each."""
    return model.render(pixel_rays(pixels.poses, pixels.intrinsics, pixels.columns, pixels.rows, pixel_offsets(1))).rgb


@pytest.mark.parametrize(
    ("build", "error"),
    [
        # Samples follow the optical thickness of cells, which is measured anew: within noise this coarse, they move.
        (grid_model, 1e-3),
        (lambda: grid_model(512), 1e-3),
        (lambda: grid_model(max_resolution=40), 2e-3),
        (network_model, 0.0),
    ],
)
def test_the_rendering_state_is_all_that_decides_how_a_model_renders(build: Callable[[], Model], error: float) -> None:
    model = build()
    twin = model.snapshot()
    for parameter in twin.parameters():
        parameter.add_(1.0)
    twin.load_rendering_state(model.rendering_state())
    pixels = some_pixels()
    assert (rendered_by(twin, pixels) - rendered_by(model, pixels)).square().mean() <= error


def test_entries_that_no_sample_reads_are_zero() -> None:
    model = grid_model(max_resolution=40)
    table = model.rendering_state()["table"]
    unread = (table == 0.0).all(1)
    assert 0.05 < unread.float().mean() < 0.95
    assert torch.equal(table[~unread], table_of(model).detach()[~unread])


@pytest.mark.parametrize("bits", [8, 5])
def test_a_snapshot_renders_as_the_model_did(bits: int) -> None:
    model = grid_model()
    pixels = some_pixels()
    before = rendered_by(model, pixels)
    snapshot = Snapshot(SnapshotSettings(bits))
    assert not snapshot
    assert snapshot.nbytes == 0
    snapshot.take(model)
    assert snapshot
    assert 0 < snapshot.nbytes < sum(p.numel() for p in model.parameters()) * 1.2
    with torch.no_grad():
        table_of(model).zero_()
    snapshot.unpack(model)
    error = (snapshot.render(pixels).rgb - before).square().mean()
    assert error < {8: 1e-3, 5: 1e-2}[bits]
    assert (rendered_by(model, pixels) - before).square().mean() > 10 * error, "the model itself has changed"

    twin = Snapshot(SnapshotSettings(bits))
    twin.load_state_dict(snapshot.state_dict())
    twin.unpack(model)
    assert torch.equal(twin.render(pixels).rgb, snapshot.render(pixels).rgb)
    assert twin.nbytes == snapshot.nbytes
    twin.drop()
    assert not twin
    assert twin.nbytes == 0


def test_several_rays_a_pixel_are_averaged() -> None:
    model, pixels = grid_model(), some_pixels(20)
    snapshot = Snapshot(SnapshotSettings(), rays_per_pixel=4)
    snapshot.take(model)
    snapshot.unpack(model)
    assert snapshot.render(pixels).rgb.shape == (20, 3)
    assert not torch.equal(snapshot.render(pixels).rgb, rendered_by(model, pixels))


@pytest.mark.parametrize(("name", "value"), [("bits", 3), ("bits", 9), ("every", 0)])
def test_settings_that_cannot_work_are_refused_by_name(name: str, value: int) -> None:
    with pytest.raises(NerfclError, match=f"{name}={value}: must"):
        SnapshotSettings(**{name: value})
