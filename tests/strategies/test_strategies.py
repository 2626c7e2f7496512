"""Every strategy keeps the one contract; a newcomer in the registry is tested without a line here."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from nerfcl.cli.options import Run
from nerfcl.errors import NerfclError
from nerfcl.experiments.runs import make_strategy
from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.models.settings import GridModel
from nerfcl.randomness import seeded
from nerfcl.scenes import load_scene
from nerfcl.scenes.cameras import Rays, camera_rays, pixel_offsets, pixel_rays
from nerfcl.scenes.scene import Views
from nerfcl.strategies import STRATEGIES, strategy_class
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.joint import Joint
from nerfcl.strategies.replay import Replay
from nerfcl.strategies.soft_targets import SoftTargetRegularization
from nerfcl.strategies.strategy import Strategy, colour_losses, squared_errors
from nerfcl.streams.pixels import Pixels, pixels_at
from nerfcl.streams.tasks import Experience, Remembered, Stream, make_stream

ROWS = [
    *STRATEGIES,
    "replay:memory-fill=uniform,soft-replay",
    "replay:memory-fill=topk,memory-draw=topk,update-losses",
    "replay:memory-draw=weighted,exploration=0.25,centre-weight=0.5,soft-targets",
    "replay:memory-rays=100,memory-fill=topk,memory-draw=weighted,exploration=0.5,centre-weight=0.25,soft-replay,"
    "update-losses,soft-targets,rays-per-pixel=4",
    "replay-all:memory-draw=weighted,update-losses,soft-replay",
    "soft-targets:rays-per-pixel=4",
]


@pytest.fixture
def stream(tiny_scene_folder: Path) -> Stream:
    return make_stream(load_scene(tiny_scene_folder), ["right", "left"])


class Painter:
    """Sees the colour scale * (1 + direction) / 2 along every ray, and counts the rays it was asked for."""

    def __init__(self, scale: float) -> None:
        self.scale, self.asked = scale, 0

    def render(self, rays: Rays, generator: torch.Generator | None = None) -> Rendering:
        self.asked += len(rays)
        rgb = self.colours(rays)
        return Rendering(rgb, rgb[:, 0], rgb[:, 0], len(rays))

    def colours(self, rays: Rays) -> Tensor:
        return (self.scale * 0.5 * (1.0 + rays.directions)).view(-1, rays.per_pixel, 3).mean(1)

    def of(self, views: Views, per_pixel: int = 1) -> Tensor:
        """(M, 3) uint8: what it makes of all pixels of some views, as a picture would store it."""
        colours = [self.colours(camera_rays(views.camera(v), per_pixel=per_pixel)) for v in range(len(views))]
        return (torch.cat(colours).clamp(0.0, 1.0) * 255.0).round().byte()


def painter(scale: float = 1.0) -> tuple[Painter, Model]:
    made = Painter(scale)
    return made, cast(Model, made)


def some(views: Views, count: int, seed: int = 0) -> Pixels:
    total = len(views) * views.height * views.width
    return pixels_at(views, torch.randint(total, (count,), generator=seeded(seed, "new")))


@pytest.mark.parametrize("row", ROWS)
def test_contract(row: str, tiny_scene_folder: Path) -> None:
    scene = load_scene(tiny_scene_folder)
    stream = make_stream(scene, ["right", "left"])
    model = GridModel.for_scene(scene, finest=16).build(0)
    strategy = make_strategy(row, Run())
    assert dataclasses.is_dataclass(strategy)
    with pytest.raises(dataclasses.FrozenInstanceError):
        strategy.anything = 1  # pyright: ignore[reportAttributeAccessIssue]
    assert strategy == make_strategy(row, Run()), "knobs decide equality: state is apart"

    state = strategy.new_state(seeded(0, "strategy"))
    strategy.begin(state, stream[0], model)
    new = some(stream[0].train, 32)
    assert strategy.batch(state, new) is new, "without a past every strategy trains as fine-tuning does"
    strategy.end(state, stream[0], model)

    strategy.begin(state, stream[1], model)
    new = some(stream[1].train, 32, 1)
    batch = strategy.batch(state, new)
    assert len(batch) >= len(new)
    assert batch.colours.shape == (len(batch), 3)
    assert batch.indices.shape == (len(batch),)
    assert batch.soft is None or batch.soft.shape == (batch.new, 3)
    assert ((batch.colours >= 0.0) & (batch.colours <= 1.0)).all()
    rays = pixel_rays(batch.poses, batch.intrinsics, batch.columns, batch.rows, pixel_offsets(1))
    losses = strategy.loss(state, model.render(rays), batch)
    assert "new" in losses
    assert losses.keys() <= {"new", "replay", "soft"}
    assert all(part.ndim == 0 and torch.isfinite(part) for part in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    strategy.after_backward(state, model)
    assert all(parameter.grad is None or torch.isfinite(parameter.grad).all() for parameter in model.parameters())

    if state is not None:
        assert state.nbytes > 0
        twin = strategy.new_state(seeded(5, "other"))
        twin.load_state_dict(state.state_dict())
        strategy.resume(twin, model)
        assert twin.nbytes == state.nbytes
        for _ in range(3):
            again, same = strategy.batch(state, new), strategy.batch(twin, new)
            for part in ("colours", "poses", "indices", "soft"):
                mine, theirs = getattr(again, part), getattr(same, part)
                if mine is None or theirs is None:
                    assert mine is theirs
                else:
                    assert torch.equal(mine, theirs), "a saved state goes on exactly"


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_in_the_registry_is_made_without_arguments(name: str) -> None:
    assert isinstance(strategy_class(name)(), Strategy)


# --- losses ---


def test_losses_of_new_and_old_pixels_by_hand(stream: Stream) -> None:
    pixels = pixels_at(stream[0].train, torch.arange(6))
    wrong = pixels.colours.clone()
    wrong[:4] += 0.1
    wrong[4:] += 0.2
    mixed = dataclasses.replace(pixels, new=4)
    parts = colour_losses(wrong, mixed)
    assert {name: part.item() for name, part in parts.items()} == pytest.approx({"new": 0.01, "replay": 0.02}, rel=1e-4)
    for new in (6, 0):  # the present only; the past only counts as new
        alone = colour_losses(wrong, dataclasses.replace(pixels, new=new))
        assert alone.keys() == {"new"}
        assert alone["new"].item() == pytest.approx((4 * 0.01 + 2 * 0.04) / 6, rel=1e-4)


def test_every_pixel_weighs_the_same_however_many_are_old(stream: Stream) -> None:
    new, old = some(stream[0].train, 4), some(stream[1].train, 12, 1)
    rgb = torch.rand(16, 3, generator=seeded(0, "rgb"))
    parts = colour_losses(rgb, new.with_past(old))
    errors = (rgb - torch.cat([new.colours, old.colours])).square().mean(-1)
    torch.testing.assert_close(parts["new"] + parts["replay"], 4.0 * errors.mean())  # four times: old ones, too


@pytest.mark.parametrize(("row", "share"), [("replay", 0.875), ("replay-images", 0.75)])
def test_the_past_may_have_more_than_half_of_a_step(row: str, share: float, stream: Stream) -> None:
    strategy = make_strategy(f"{row}:past-share={share}", Run())
    model = GridModel.for_scene(load_scene("builtin", (16, 16)), finest=16).build(0)
    state = strategy.new_state(seeded(0, "strategy"))
    new = some(stream[0].train, 64)
    assert strategy.batch(state, new) is new
    strategy.end(state, stream[0], model)
    batch = strategy.batch(state, some(stream[1].train, 64, 1))
    assert (batch.new, len(batch)) == (round(128 * (1.0 - share)), 128)
    for wrong in (0.4, 1.0):
        with pytest.raises(NerfclError, match="--past-share"):
            make_strategy(f"{row}:past-share={wrong}", Run())


def test_three_parts_of_the_loss_by_hand(stream: Stream) -> None:
    pixels = pixels_at(stream[0].train, torch.arange(5))
    batch = dataclasses.replace(
        pixels,
        colours=torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0], [0.2, 0.4, 0.6]]),
        new=3,
        soft=torch.tensor([[0.1, 0.1, 0.1], [0.5, 0.5, 0.5], [0.7, 1.0, 0.7]]),
    )
    rgb = torch.tensor([[0.1, 0.2, 0.2], [0.5, 0.5, 0.5], [1.0, 1.0, 0.7], [0.5, 0.5, 0.5], [0.2, 0.4, 0.0]])
    expected = {
        "new": (0.01 + 0.04 + 0.04 + 0.09) / 9,
        "replay": (0.25 * 3 + 0.36) / 9,  # two pixels: as weighty as two of the three new ones
        "soft": (0.0 + 0.01 + 0.01 + 0.09) / 9,
    }
    rendering = Rendering(rgb, rgb[:, 0], rgb[:, 0], 5)
    parts = FineTune().loss(None, rendering, batch)
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(expected, rel=1e-5)
    both = FineTune().loss(None, dataclasses.replace(rendering, coarse=rgb), batch)
    doubled = {name: 2 * value for name, value in expected.items()}
    assert {name: part.item() for name, part in both.items()} == pytest.approx(doubled, rel=1e-5)
    by_pixel = squared_errors(rgb, batch).tolist()
    assert by_pixel == pytest.approx([0.03, 0.0, 0.03, 0.25, 0.12], rel=1e-5, abs=1e-9)


# --- soft targets ---


@pytest.mark.parametrize("per_pixel", [1, 4])
@pytest.mark.parametrize("cls", [SoftTargetRegularization, Replay])
def test_soft_targets_are_what_the_model_rendered_before_the_task_began(
    cls: type[Strategy], per_pixel: int, stream: Stream
) -> None:
    knobs: dict[str, Any] = {"rays_per_pixel": per_pixel} | ({"soft_targets": True} if cls is Replay else {})
    strategy, (old, model) = cls(**knobs), painter(0.75)
    state = strategy.new_state(seeded(0, "strategy"))
    strategy.begin(state, stream[0], model)
    assert old.asked == 0, "an untrained model has nothing to tell"
    assert strategy.batch(state, some(stream[0].train, 16)).soft is None
    strategy.end(state, stream[0], model)
    views = stream[1].train
    strategy.begin(state, stream[1], model)
    expected = old.of(views, per_pixel)
    old.scale = 0.1  # what is learned now changes nothing
    new = some(views, 64)
    batch = strategy.batch(state, new)
    assert batch.soft is not None
    torch.testing.assert_close(batch.soft * 255.0, expected[new.indices].float(), atol=1e-4, rtol=0.0)
    assert torch.equal(batch.colours[:64], new.colours), "the true colours stay first targets"

    # A third task: the second model tells about it.
    strategy.end(state, stream[1], model)
    strategy.begin(state, stream[0], model)
    new = some(stream[0].train, 64)
    soft = strategy.batch(state, new).soft
    assert soft is not None
    torch.testing.assert_close(soft * 255.0, old.of(stream[0].train, per_pixel)[new.indices].float(), atol=1e-4, rtol=0)


def test_soft_targets_count_three_bytes_a_pixel_once_there_is_a_past(stream: Stream) -> None:
    strategy, (_, model) = SoftTargetRegularization(), painter()
    state = strategy.new_state(seeded(0, "strategy"))
    strategy.begin(state, stream[0], model)
    strategy.end(state, stream[0], model)
    assert state.nbytes == 0
    strategy.begin(state, stream[1], model)
    assert state.nbytes == len(stream[1].train) * 16 * 16 * 3


def test_the_loss_of_a_replay_with_soft_targets_has_three_parts(stream: Stream) -> None:
    strategy, (_, model) = Replay(memory_rays=50, soft_targets=True), painter(0.5)
    state = strategy.new_state(seeded(0, "strategy"))
    strategy.begin(state, stream[0], model)
    strategy.end(state, stream[0], model)
    strategy.begin(state, stream[1], model)
    batch = strategy.batch(state, some(stream[1].train, 32))
    assert (len(batch), batch.new) == (64, 32)
    assert batch.soft is not None
    rgb = torch.rand(64, 3, generator=seeded(0, "rgb"))
    parts = strategy.loss(state, Rendering(rgb, rgb[:, 0], rgb[:, 0], 64), batch)
    assert parts["new"].item() == pytest.approx(((rgb[:32] - batch.colours[:32]) ** 2).mean().item())
    assert parts["replay"].item() == pytest.approx(((rgb[32:] - batch.colours[32:]) ** 2).mean().item())
    assert parts["soft"].item() == pytest.approx(((rgb[:32] - batch.soft) ** 2).mean().item())
    assert len(parts) == 3


# --- what the model makes of what it learned ---


def test_soft_replay_replays_what_the_model_rendered(stream: Stream) -> None:
    strategy, (old, model) = Replay(memory_rays=60, soft_replay=True), painter(0.8)
    state = strategy.new_state(seeded(0, "strategy"))
    views = stream[0].train
    strategy.end(state, stream[0], model)
    assert old.asked == 60, "only about what is kept"
    past = strategy.batch(state, some(stream[1].train, 40))
    view = (past.poses[40:, None, :3, 3] - views.poses[None, :, :3, 3]).norm(dim=-1).argmin(1)
    place = view * 256 + past.rows[40:] * 16 + past.columns[40:]
    torch.testing.assert_close(past.colours[40:] * 255.0, old.of(views)[place].float(), atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("per_pixel", [1, 4])
def test_stored_losses_are_the_models_squared_errors(per_pixel: int, stream: Stream) -> None:
    strategy = Replay(memory_rays=100, memory_fill="topk", rays_per_pixel=per_pixel)
    old, model = painter(0.8)
    views = stream[0].train
    state = strategy.new_state(seeded(0, "strategy"))
    strategy.end(state, stream[0], model)
    rgb = torch.cat([old.colours(camera_rays(views.camera(v), per_pixel=per_pixel)) for v in range(len(views))])
    errors = ((rgb - views.images.view(-1, 3).float() / 255.0) ** 2).mean(-1)
    expected = errors.topk(100).values
    stored = state.memory.state_dict()["losses"].float().sort(descending=True).values
    torch.testing.assert_close(stored, expected, rtol=2**-8, atol=0.0)


def test_what_is_written_down_is_taken_instead_of_asking_the_model(stream: Stream) -> None:
    views = stream[0].train
    total = len(views) * 256
    colours = torch.randint(256, (len(views), 16, 16, 3), generator=seeded(0, "colours")).byte()
    losses = (torch.randperm(total, generator=seeded(0, "losses")).float() / total).view(len(views), 16, 16)
    known = dataclasses.replace(stream[0], remembered=Remembered(colours, losses))
    strategy = Replay(memory_rays=40, memory_fill="topk", memory_draw="topk", soft_replay=True, soft_targets=True)
    old, model = painter()
    state = strategy.new_state(seeded(0, "strategy"))
    strategy.end(state, known, model)
    highest = losses.view(-1).topk(40)
    past = state.memory.draw(40)
    stored = state.memory.state_dict()["losses"].float().sort(descending=True).values
    torch.testing.assert_close(stored, highest.values, rtol=2**-8, atol=0.0)
    kept = {tuple(colour) for colour in (past.colours * 255.0).round().long().tolist()}
    assert kept == {tuple(colour) for colour in colours.view(-1, 3)[highest.indices].tolist()}
    strategy.begin(state, known, model)
    new = some(views, 32)
    soft = strategy.batch(state, new).soft
    assert soft is not None
    torch.testing.assert_close(soft, colours.view(-1, 3)[new.indices].float() / 255.0)
    assert old.asked == 0


@pytest.mark.parametrize("known", ["colours", "losses"])
def test_what_is_not_written_down_is_asked_of_the_model(known: str, stream: Stream) -> None:
    views = stream[0].train
    black = torch.zeros(len(views), 16, 16, 3, dtype=torch.uint8)
    written = Remembered(colours=black) if known == "colours" else Remembered(losses=torch.full(black.shape[:3], 0.25))
    strategy = Replay(memory_rays=40, memory_draw="weighted", soft_replay=True)
    old, model = painter(0.5)
    state = strategy.new_state(seeded(0, "strategy"))
    strategy.end(state, dataclasses.replace(stream[0], remembered=written), model)
    assert old.asked == 40
    past, stored = state.memory.draw(40), state.memory.state_dict()["losses"]
    assert bool((past.colours == 0.0).all()) is (known == "colours")
    assert bool((stored == 0.25).all()) is (known == "losses")
    rays = pixel_rays(past.poses, past.intrinsics, past.columns, past.rows, pixel_offsets(1))
    if known == "losses":
        rendered = (old.colours(rays) * 255.0).round()
        torch.testing.assert_close(past.colours * 255.0, rendered, atol=1e-3, rtol=0.0)


@pytest.mark.parametrize("update", [False, True])
def test_the_latest_errors_are_stored_where_that_is_asked_for(update: bool, stream: Stream) -> None:
    strategy, (_, model) = Replay(memory_rays=200, memory_draw="weighted", update_losses=update), painter()
    state = strategy.new_state(seeded(0, "strategy"))
    strategy.end(state, stream[0], model)
    before = state.memory.state_dict()["losses"]
    batch = strategy.batch(state, some(stream[1].train, 50))
    rgb = torch.rand(100, 3, generator=seeded(0, "rgb"), requires_grad=True)
    strategy.loss(state, Rendering(rgb, rgb[:, 0], rgb[:, 0], 100), batch)
    after = state.memory.state_dict()["losses"]
    places = batch.indices[50:]
    expected = before.clone()
    if update:
        expected[places] = ((rgb.detach() - batch.colours) ** 2).mean(-1)[50:].to(torch.bfloat16)
        assert (after[places] != before[places]).float().mean() > 0.9
    assert torch.equal(after, expected)
    assert not after.requires_grad


def test_a_batch_of_the_present_alone_updates_nothing(stream: Stream) -> None:
    strategy, (_, model) = Replay(memory_draw="topk", update_losses=True), painter()
    state = strategy.new_state(seeded(0, "strategy"))
    strategy.end(state, stream[0], model)
    before = state.memory.state_dict()["losses"]
    batch = some(stream[1].train, 50)
    rgb = torch.rand(50, 3)
    assert strategy.loss(state, Rendering(rgb, rgb[:, 0], rgb[:, 0], 50), batch).keys() == {"new"}
    assert torch.equal(state.memory.state_dict()["losses"], before)


def test_only_strategies_that_say_so_need_boundaries() -> None:
    assert SoftTargetRegularization().needs_boundaries
    assert not Replay().needs_boundaries
    assert Joint().from_scratch


@pytest.mark.parametrize(
    ("knobs", "option"),
    [
        ({"memory_rays": 0}, "--memory-rays 0"),
        ({"memory_rays": -3}, "--memory-rays -3"),
        ({"memory_fill": "best"}, "--memory-fill best"),
        ({"memory_draw": "best"}, "--memory-draw best"),
        ({"exploration": 0.5}, "--exploration"),
        ({"rays_per_pixel": 3}, "--rays-per-pixel 3"),
    ],
)
def test_knobs_that_cannot_work_are_refused_by_name(knobs: dict[str, Any], option: str) -> None:
    with pytest.raises(NerfclError, match=option):
        Replay(**knobs)


def test_soft_targets_refuse_rays_per_pixel_that_are_no_square() -> None:
    with pytest.raises(NerfclError, match="--rays-per-pixel 3"):
        SoftTargetRegularization(rays_per_pixel=3)


def test_experiences_remember_nothing_unless_told(stream: Stream) -> None:
    assert all(isinstance(part, Experience) and part.remembered is None for part in stream)


def test_unknown_strategy_lists_those_there_are() -> None:
    with pytest.raises(NerfclError, match="finetune, replay"):
        strategy_class("forget-nothing")


def test_command_line_knows_every_strategy_without_loading_torch() -> None:
    import subprocess
    import sys

    code = "import sys, nerfcl.cli.main; sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
