"""Every strategy keeps the one contract; a further one in the registry is tested without a line here."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.randomness import seeded
from nerfcl.scenes.cameras import pixel_offsets, pixel_rays
from nerfcl.scenes.scene import Scene
from nerfcl.serialisation import from_plain, to_plain
from nerfcl.strategies import STRATEGIES
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.strategy import Role, Strategy
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.stream import Stream
from nerfcl.training.callbacks import Callback, StepReport
from nerfcl.training.learner import Learner, new_learner
from nerfcl.training.loop import learn
from nerfcl.training.settings import TrainingSettings
from strategies.parts import some_pixels, strategy_of
from support.learning import same, small_model, weights_of

CONFIGURATIONS = [
    *STRATEGIES,
    "replay:memory-fill=uniform,soft-replay",
    "replay:memory-fill=highest,update-losses",
    "replay:memory-fill=topk,memory-draw=topk,update-losses",
    "replay:memory-draw=weighted,exploration=0.25,centre-weight=0.5,soft-targets",
    "replay:memory-rays=100,memory-fill=topk,memory-draw=weighted,exploration=0.5,centre-weight=0.25,soft-replay,"
    "update-losses,soft-targets,rays-per-pixel=4",
    "replay-all:memory-draw=weighted,update-losses,soft-replay",
    "replay-images:memory-bytes=none",
    "replay+:memory-bytes=3000,snapshot-every=2",
    "generative:snapshot-bits=5,snapshot-every=2",
    "soft-targets:rays-per-pixel=4",
    "ewc:ewc-lambda=20,importance-decay=0.5",
    "agem:memory-draw=weighted,rays-per-pixel=4",
]


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_a_strategy_is_a_frozen_value_that_plain_values_describe(text: str) -> None:
    strategy, name = strategy_of(text), text.partition(":")[0]
    assert type(strategy) is STRATEGIES[name]
    assert strategy.role in get_args(Role)
    with pytest.raises(dataclasses.FrozenInstanceError):
        strategy.anything = 1  # pyright: ignore[reportAttributeAccessIssue]
    assert strategy == strategy_of(text), "hyperparameters decide equality: state is apart"
    assert hash(strategy) == hash(strategy_of(text))
    assert (strategy == STRATEGIES[name]()) is (text == name)

    plain = to_plain(strategy)
    assert plain["kind"] == name
    again = from_plain(Strategy, json.loads(json.dumps(plain)))
    assert type(again) is type(strategy)
    assert again == strategy
    assert from_plain(Strategy, {"kind": name}) == STRATEGIES[name](), "what is missing has its default"
    with pytest.raises(NerfclError, match="hue"):
        from_plain(Strategy, {**plain, "hue": 1})


def rendered(strategy: Strategy, state: Any, batch: Pixels, model: Model) -> dict[str, Tensor]:
    """The parts of the loss, after checking that they are scalars which can be minimised."""
    rays = pixel_rays(batch.poses, batch.intrinsics, batch.columns, batch.rows, pixel_offsets(1))
    losses = strategy.loss(state, model.render(rays), batch, model)
    assert losses
    assert all(isinstance(name, str) and part.ndim == 0 and torch.isfinite(part) for name, part in losses.items())
    return losses


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_the_contract_of_a_strategy(text: str, scene: Scene, stream: Stream) -> None:
    model, strategy = small_model(scene)(), strategy_of(text)
    state = strategy.new_state(seeded(0, "strategy"))
    strategy.begin(state, stream[0], model)
    new = some_pixels(stream[0].train, 32)
    assert strategy.batch(state, new) is new, "without a past every strategy trains as fine-tuning does"
    assert same(rendered(strategy, state, new, model), rendered(FineTune(), None, new, model))
    if state is not None:
        assert isinstance(state.nbytes, int)
        twin = strategy.new_state(seeded(5, "other"))
        twin.load_state_dict(state.state_dict())
        assert same(twin.state_dict(), state.state_dict())
    strategy.end(state, stream[0], model)

    strategy.begin(state, stream[1], model)
    new = some_pixels(stream[1].train, 32, 1)
    batch = strategy.batch(state, new)
    assert len(batch) >= len(new)
    assert batch.colours.shape == (len(batch), 3)
    assert batch.indices.shape == (len(batch),)
    assert batch.soft is None or batch.soft.shape == (batch.new, 3)
    assert ((batch.colours >= 0.0) & (batch.colours <= 1.0)).all()
    torch.stack(list(rendered(strategy, state, batch, model).values())).sum().backward()
    strategy.after_backward(state, model)
    assert all(parameter.grad is None or torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    assert all(isinstance(value, float) for value in strategy.metrics(state).values())

    if state is None:
        assert strategy.role == "lower bound", "all others keep something"
        return
    assert state.nbytes > 0
    file = io.BytesIO()
    torch.save(state.state_dict(), file)
    file.seek(0)
    twin = strategy.new_state(seeded(5, "other"))
    twin.load_state_dict(torch.load(file, weights_only=True))
    strategy.resume(twin, model)
    assert twin.nbytes == state.nbytes
    for _ in range(3):
        batches = [strategy.batch(each, new) for each in (state, twin)]
        assert same(vars(batches[0]), vars(batches[1])), "a saved state goes on exactly"
        losses = [rendered(strategy, each, batch, model) for each, batch in zip((state, twin), batches, strict=True)]
        assert same(losses[0], losses[1])
        assert strategy.metrics(state) == strategy.metrics(twin)


def test_one_strategy_bounds_the_others_from_below_and_one_from_above() -> None:
    made = {name: STRATEGIES[name]() for name in STRATEGIES}
    assert [name for name, strategy in made.items() if strategy.role == "lower bound"] == ["finetune"]
    assert [name for name, strategy in made.items() if strategy.role == "upper bound"] == ["joint"]
    assert [name for name, strategy in made.items() if strategy.needs_boundaries] == ["soft-targets"]
    assert [name for name, strategy in made.items() if strategy.from_scratch] == ["joint"]


# --- loss parts ---


@dataclasses.dataclass(frozen=True)
class Decaying(Strategy):
    """Fine-tuning whose parameters are pulled to zero by a part of the loss."""

    parts: bool = True

    def loss(self, state: Any, rendering: Rendering, batch: Pixels, model: Model) -> dict[str, Tensor]:
        (new,) = super().loss(state, rendering, batch, model).values()
        decay = 0.1 * torch.stack([parameter.square().sum() for parameter in model.parameters()]).sum()
        return {"colours": new, "decay of weights": decay} if self.parts else {"all": torch.stack([new, decay]).sum()}


class Reports(Callback):
    def __init__(self) -> None:
        self.reports: list[StepReport] = []

    def on_step(self, learner: Learner, report: StepReport) -> None:
        self.reports.append(report)


def test_parts_of_the_loss_have_any_names_and_their_sum_is_minimised(scene: Scene, stream: Stream) -> None:
    ends = []
    for strategy in (Decaying(), Decaying(parts=False), FineTune()):
        learner, callback = new_learner(strategy, small_model(scene), 3), Reports()
        learn(stream, learner, TrainingSettings(steps=5, rays=64, evaluation=None), [callback], until=1)
        ends.append(weights_of(learner))
        losses, loss = callback.reports[0].losses, callback.reports[0].loss
        assert losses is not None
        if strategy == Decaying():
            assert losses.keys() == {"colours", "decay of weights", "opacity", "psnr"}
            assert loss == losses["colours"] + losses["decay of weights"] + losses["opacity"]
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


# --- names and refusals ---


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("replay:memory-rays=0", "rays=0: must be at least 1"),
        ("replay:memory-rays=-3", "rays=-3: must be at least 1"),
        ("replay:memory-fill=best", "fill='best': must be one of"),
        ("replay:memory-draw=best", "draw='best': must be one of"),
        ("replay:exploration=0.5", "exploration=0.5: needs a draw policy with weights"),
        ("replay:replay-fraction=0.4", "replay_fraction=0.4: must be at least 0.5 and below 1"),
        ("replay:replay-fraction=1.0", "replay_fraction=1.0: must"),
        ("replay:replay-fraction=nan", "replay_fraction=nan: must"),
        ("replay:rays-per-pixel=3", "rays_per_pixel=3: must be a square number"),
        ("replay-all:memory-rays=5", "strategy='replay-all': has no hyperparameter memory-rays; it has "),
        ("replay-images:replay-fraction=1.5", "replay_fraction=1.5: must"),
        ("replay-images:memory-bytes=0", "bytes=0: must be at least 1"),
        ("replay+:memory-bytes=86", "bytes=86: is too small for a single ray"),
        ("replay+:memory-fill=highest", "fill='highest': a snapshot needs rays of every frame"),
        ("replay+:memory-fill=loss-grid", "fill='loss-grid': a snapshot needs rays of every frame"),
        ("replay+:update-losses", "update_losses=True: is not supported by this strategy"),
        ("replay+:snapshot-every=0", "every=0: must be at least 1"),
        ("generative:snapshot-every=0", "every=0: must be at least 1"),
        ("generative:snapshot-bits=2", "bits=2: must lie between 4 and 8"),
        ("generative:rays-per-pixel=3", "rays_per_pixel=3: must be a square number"),
        ("distill:replay-fraction=1.5", "replay_fraction=1.5: must"),
        ("soft-targets:rays-per-pixel=3", "rays_per_pixel=3: must be a square number"),
        ("agem:rays-per-pixel=3", "rays_per_pixel=3: must be a square number"),
        ("agem:memory-rays=0", "rays=0: must be at least 1"),
        ("ewc:ewc-lambda=-1", "ewc_lambda=-1.0: must not be negative"),
        ("mas:mas-lambda=-1", "mas_lambda=-1.0: must not be negative"),
        ("mas:importance-decay=1.5", "importance_decay=1.5: must lie between 0 and 1"),
        ("mas:importance-batch=0", "importance_batch=0: must be at least 1 and at most importance_rays=4096"),
        ("mas:importance-rays=0", "importance_batch=16: must be at least 1 and at most importance_rays=0"),
        ("ewc:snapshot-bits=20", "snapshot_bits=20: must lie between 4 and 8"),
        ("ewc:rays-per-pixel=3", "rays_per_pixel=3: must be a square number"),
    ],
)
def test_hyperparameters_that_cannot_work_are_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(NerfclError, match=message):
        strategy_of(text)


def test_an_unknown_strategy_lists_those_there_are() -> None:
    with pytest.raises(NerfclError, match="strategy='forget-nothing': is unknown; choose from finetune, replay"):
        STRATEGIES["forget-nothing"]


def test_the_command_line_knows_every_strategy_without_loading_torch() -> None:
    code = "import sys, nerfcl.cli.main; sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
