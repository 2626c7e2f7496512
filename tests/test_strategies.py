"""Every strategy keeps the one contract; a newcomer in the registry is tested without a line here."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from nerfcl.cameras import pixel_offsets, pixel_rays
from nerfcl.errors import NerfclError
from nerfcl.models import GridModel
from nerfcl.pixels import draw_pixels, pixels_at
from nerfcl.randomness import seeded
from nerfcl.scenes import load_scene
from nerfcl.strategies import STRATEGIES, strategy_class
from nerfcl.strategies.strategy import colour_loss
from nerfcl.streams import make_stream


@pytest.mark.parametrize("name", STRATEGIES)
def test_contract(name: str, tiny_scene_folder: Path) -> None:
    scene = load_scene(tiny_scene_folder)
    stream = make_stream(scene, ["right", "left"])
    model = GridModel.for_scene(scene, finest=16).build(0)
    strategy = strategy_class(name)()
    assert dataclasses.is_dataclass(strategy)
    with pytest.raises(dataclasses.FrozenInstanceError):
        strategy.anything = 1  # pyright: ignore[reportAttributeAccessIssue]
    assert strategy == strategy_class(name)(), "knobs decide equality: state is apart"

    state = strategy.new_state(seeded(0, "strategy"))
    strategy.begin(state, stream[0])
    new = draw_pixels(stream[0].train, 32, seeded(0, "new"))
    assert strategy.batch(state, new) is new, "without a past every strategy trains as fine-tuning does"
    strategy.end(state, stream[0], model)

    strategy.begin(state, stream[1])
    new = draw_pixels(stream[1].train, 32, seeded(1, "new"))
    batch = strategy.batch(state, new)
    assert len(batch) >= len(new)
    assert batch.colours.shape == (len(batch), 3)
    assert ((batch.colours >= 0.0) & (batch.colours <= 1.0)).all()
    rays = pixel_rays(batch.poses, batch.intrinsics, batch.columns, batch.rows, pixel_offsets(1))
    loss = strategy.loss(state, model.render(rays), batch)
    assert loss.ndim == 0
    assert torch.isfinite(loss)
    loss.backward()
    strategy.after_backward(state, model)
    assert all(parameter.grad is None or torch.isfinite(parameter.grad).all() for parameter in model.parameters())

    if state is not None:
        assert state.nbytes > 0
        twin = strategy.new_state(seeded(5, "other"))
        twin.load_state_dict(state.state_dict())
        assert twin.nbytes == state.nbytes
        again, same = strategy.batch(state, new), strategy.batch(twin, new)
        assert torch.equal(again.colours, same.colours), "a saved state goes on exactly"
        assert torch.equal(again.poses, same.poses)


def test_loss_adds_the_means_over_new_and_old_pixels(tiny_scene_folder: Path) -> None:
    views = load_scene(tiny_scene_folder).train
    pixels = pixels_at(views, torch.arange(6))
    wrong = pixels.colours.clone()
    wrong[:4] += 0.1
    wrong[4:] += 0.2
    mixed = dataclasses.replace(pixels, new=4)
    assert colour_loss(wrong, mixed).item() == pytest.approx(0.01 + 0.04, rel=1e-4)
    assert colour_loss(wrong, pixels).item() == pytest.approx((4 * 0.01 + 2 * 0.04) / 6, rel=1e-4)


def test_unknown_strategy_lists_those_there_are() -> None:
    with pytest.raises(NerfclError, match="finetune, replay"):
        strategy_class("forget-nothing")


def test_command_line_knows_every_strategy_without_loading_torch() -> None:
    import subprocess
    import sys

    code = "import sys; import nerfcl.cli, nerfcl.config; sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
