"""Frozen models in few bytes, against the models themselves."""

from __future__ import annotations

import pytest
import torch

from nerfcl.errors import NerfclError
from nerfcl.memory.snapshots import Snapshot, pack, unpack
from nerfcl.models.fields.hash_grid import HashGridSettings
from nerfcl.models.rendering.hierarchical import HierarchicalSettings
from nerfcl.models.rendering.model import Model
from nerfcl.models.rendering.occupancy import OccupancyModel, OccupancySettings
from nerfcl.models.settings import GridModel, NerfModel
from nerfcl.randomness import seeded
from nerfcl.scenes.scene import Box
from nerfcl.streams.pixels import Pixels


def grid_model(table_size: int = 2**19, finest: int = 24, cells: int = 16) -> OccupancyModel:
    """Blobs of matter that its occupancy grid has found: about half of the cells are empty."""
    field = HashGridSettings(8, finest, 3, table_size)
    occupancy = OccupancySettings(cells, 32, occupied=0.05, warm_up=2, update_every=1)
    model = GridModel(Box.around((0.0, 0.0, 0.0), 2.0), (1.0, 1.0, 1.0), field, occupancy).build(0)
    with torch.no_grad():
        model.field.table.copy_(torch.randn(model.field.table.shape, generator=seeded(0, "table")) * 0.5)
        for weights in model.field.density_network:
            weights *= 2.0
    for _ in range(12):
        model.begin_step(seeded(1, "step"))
    seen = (model.thickness >= model.occupied).float().mean()
    assert 0.1 < seen < 0.9
    return model


def network_model() -> Model:
    return NerfModel((1.0, 1.0, 1.0), HierarchicalSettings(1.0, 5.0, 8, 8)).build(0)


def some_pixels(count: int = 200) -> Pixels:
    """Pixels of cameras all around at a distance of 3, looking at the middle."""
    generator = seeded(2, "pixels")
    back = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([[0.0, 0.0, 1.0]]).expand(count, 3), back))
    poses = torch.eye(4).repeat(count, 1, 1)
    poses[:, :3] = torch.stack([right, torch.linalg.cross(back, right), back, 3.0 * back], -1)
    columns, rows = torch.randint(16, (2, count), generator=generator)
    lens = torch.tensor([22.0, 22.0, 8.0, 8.0]).expand(count, 4)
    return Pixels(poses, lens, columns, rows, torch.zeros(count, 3), columns, new=0)


@torch.no_grad()
def seen_by(model: Model, pixels: Pixels) -> torch.Tensor:
    snapshot = Snapshot()
    snapshot._packed, snapshot._model = b"-", model
    return snapshot.render(pixels).rgb


@pytest.mark.parametrize("build", [grid_model, lambda: grid_model(512), lambda: grid_model(finest=40), network_model])
def test_the_rendering_state_is_all_that_decides_how_a_model_renders(build: object) -> None:
    model = build()  # pyright: ignore[reportCallIssue]
    twin = model.snapshot()
    for parameter in twin.parameters():
        parameter.add_(1.0)
    twin.load_rendering_state(model.rendering_state())
    pixels = some_pixels()
    assert torch.equal(seen_by(twin, pixels), seen_by(model, pixels))


def test_entries_that_no_sample_reads_are_zero() -> None:
    model = grid_model(finest=40)
    table = model.rendering_state()["table"]
    unread = (table == 0.0).all(1)
    assert 0.05 < unread.float().mean() < 0.95
    assert torch.equal(table[~unread], model.field.table.detach()[~unread])


def test_packed_tensors_come_back_nearly_as_they_were() -> None:
    large = torch.randn(300, 1000, generator=seeded(0, "large"))
    large[100:200] = 0.0
    state = {
        "large": large,
        "small": torch.randn(7, 3),
        "seen": torch.rand(5, 5, 5) > 0.5,
        "age": torch.tensor(123_456_789),
        "none": torch.zeros(0, 3),
    }
    sizes = []
    for bits in (4, 6, 8):
        packed = pack(state, bits)
        sizes.append(len(packed))
        again = unpack(packed)
        assert again.keys() == state.keys()
        assert torch.equal(again["seen"], state["seen"])
        assert torch.equal(again["age"], state["age"])
        assert again["none"].shape == (0, 3)
        torch.testing.assert_close(again["small"], state["small"], rtol=1e-3, atol=1e-6)
        assert again["large"].shape == large.shape
        assert not again["large"][101:199].any(), "zero stays zero"
        kept = large != 0.0
        values, restored = large[kept], again["large"][kept]
        count = len(values) // 64 * 64
        blocks, errors = values[:count].view(-1, 64).abs().amax(1), (values - restored)[:count].view(-1, 64)
        step = blocks / (2 ** (bits - 1) - 1)
        assert (errors.abs().amax(1) <= 0.5 * step * 1.01 + 1e-3 * blocks).all()
    assert sizes == sorted(sizes)
    assert sizes[-1] < 200_000 * 1.1 + 2000, "zeros and scales cost next to nothing"


@pytest.mark.parametrize("bits", [8, 5])
def test_a_snapshot_renders_as_the_model_did(bits: int) -> None:
    model = grid_model()
    pixels = some_pixels()
    before = seen_by(model, pixels)
    snapshot = Snapshot(bits)
    assert not snapshot
    assert snapshot.nbytes == 0
    snapshot.take(model)
    assert snapshot
    assert 0 < snapshot.nbytes < sum(p.numel() for p in model.parameters()) * 1.2
    with torch.no_grad():
        model.field.table.zero_()
    snapshot.unpack(model)
    error = (snapshot.render(pixels).rgb - before).square().mean()
    assert error < {8: 1e-4, 5: 5e-3}[bits]
    assert (seen_by(model, pixels) - before).square().mean() > 10 * error, "the model itself has changed"

    twin = Snapshot(bits)
    twin.load_state_dict(snapshot.state_dict())
    twin.unpack(model)
    assert torch.equal(twin.render(pixels).rgb, snapshot.render(pixels).rgb)
    assert twin.nbytes == snapshot.nbytes


def test_several_rays_a_pixel_are_averaged() -> None:
    model, pixels = grid_model(), some_pixels(20)
    snapshot = Snapshot(rays_per_pixel=4)
    snapshot.take(model)
    snapshot.unpack(model)
    assert snapshot.render(pixels).rgb.shape == (20, 3)
    assert not torch.equal(snapshot.render(pixels).rgb, seen_by(model, pixels))


@pytest.mark.parametrize("bits", [3, 9])
def test_bits_that_cannot_be_are_refused(bits: int) -> None:
    with pytest.raises(NerfclError, match="--snapshot-bits"):
        Snapshot(bits)
