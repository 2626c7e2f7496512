"""What eval.py --split infer_train writes about train views, and train.py reads: soft targets and losses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerfcl.cli.reference import train_main
from nerfcl.models.rendering.model import render_image
from nerfcl.scenes import load_scene
from nerfcl.training.checkpoints import evaluated_model
from support.folders import files_in
from support.reference import EVAL, LEFT, REPLAY, checkpoint, evaluate, memory_of, train
from support.refusals import refused


@pytest.fixture
def written(here: Path) -> Path:
    """The folder in which run r's model rendered all train views."""
    evaluate(f"{EVAL} --split infer_train --test_view NA")
    return here


def test_all_train_views_are_rendered_and_compared_before_colours_are_rounded(written: Path) -> None:
    model, views = evaluated_model(checkpoint("r", 8)), load_scene("tiny", (16, 16)).train
    assert files_in(Path("tiny/soft_targets")) == {f"r_{i}.png" for i in range(6)}
    assert files_in(Path("tiny/stage1_losses")) == {f"loss_{i}.pt" for i in range(6)}
    for i in range(6):
        rgb = render_image(model, views.camera(i)).rgb
        image = np.asarray(Image.open(f"tiny/soft_targets/r_{i}.png"))
        assert np.array_equal(image, (rgb.clamp(0.0, 1.0) * 255.0).round().byte().numpy())
        losses = torch.load(f"tiny/stage1_losses/loss_{i}.pt", weights_only=True)
        assert losses.shape == (16, 16)
        assert losses.dtype == torch.float32
        torch.testing.assert_close(losses, (rgb - views.images[i] / 255.0).square().mean(-1))


def test_losses_are_read_where_they_are_and_computed_where_not(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both give the same memory; other losses fill it with other rays."""
    command = f"{LEFT} {REPLAY} --num_epochs 9 --exp_name"
    train(f"{command} computed")
    assert (
        "stage1_losses: tiny/stage1_losses/loss_0.pt is missing; using the checkpoint's model"
        in capsys.readouterr().out
    )
    evaluate(f"{EVAL} --split infer_train --test_view NA")
    train(f"{command} read")
    assert "stage1_losses: 3 files from tiny/stage1_losses\n" in capsys.readouterr().out
    for i in range(3):  # the right side's frames; what is worst is now the last row of the last of them
        losses = torch.zeros(16, 16)
        losses[-1] = 1.0 if i == 2 else 0.0
        torch.save(losses, f"tiny/stage1_losses/loss_{i}.pt")
    train(f"{command} other --buffer_size 16")
    memories = [memory_of(name, 9) for name in ("computed", "read", "other")]
    rays = [set(zip(memory["frames"].tolist(), memory["pixels"].tolist(), strict=True)) for memory in memories]
    assert len(rays[0]) == 100
    assert len(rays[0] & rays[1]) >= 99  # views are rendered in batches of another size
    assert {pixel for _, pixel in rays[2]} == set(range(240, 256))
    assert len(memories[2]["poses"]) == 1


def test_soft_targets_are_read_where_they_are(written: Path) -> None:
    for i in range(6):
        Image.new("RGB", (16, 16), (77 + i,) * 3).save(f"tiny/soft_targets/r_{i}.png")
    train(f"{LEFT} {REPLAY} --use_soft_targets_for_replay --distillation --num_epochs 9 --exp_name soft")
    state = checkpoint("soft", 9).strategy_state or {}
    assert {*state["memory"]["colours"].unique().tolist()} <= {77, 78, 79}  # of the right side, frames 0 to 2
    assert {*state["soft_targets"]["colours"].unique().tolist()} == {80, 81, 82}


def test_files_are_read_only_when_the_second_task_begins(written: Path) -> None:
    """What is gone on with has what it read then."""
    command = f"{LEFT} {REPLAY} --distillation --exp_name l --num_epochs"
    train(f"{command} 9")
    Path("tiny/soft_targets/r_3.png").write_bytes(b"no image")
    train(f"{command} 9")
    train(f"{command} 10 --exp_name on --ckpt_path ckpts/l/epoch=9.ckpt")


SOFT, LOSS = "tiny/soft_targets/r_3.png", "tiny/stage1_losses/loss_1.pt"
NO_NUMBER = torch.full((16, 16), torch.nan)


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        (SOFT, (20, 16), "20x16 instead of 16x16"),
        (SOFT, b"no image", "is not a readable image"),
        (LOSS, torch.zeros(16, 20), "20x16 instead of 16x16"),
        (LOSS, b"no tensor", "is not an (H, W) tensor of losses"),
        (LOSS, torch.zeros(16, 16, 3), "is not an (H, W) tensor of losses"),
        (LOSS, torch.zeros(16, 16, dtype=torch.int32), "is not an (H, W) tensor of losses"),
        (LOSS, -torch.ones(16, 16), "holds negative"),
        (LOSS, NO_NUMBER, "NaN losses"),
        (LOSS, 1.0 / torch.zeros(16, 16), "NaN losses"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_of_another_kind_or_size_are_refused(
    written: Path, file: str, content: object, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if isinstance(content, bytes):
        Path(file).write_bytes(content)
    elif isinstance(content, tuple):
        Image.new("RGB", content).save(file)
    else:
        torch.save(content, file)
    command = f"{LEFT} {REPLAY} --distillation --num_epochs 9 --exp_name l"
    line = refused(train_main, command.split(), capsys, out=Path("ckpts/l"))
    assert line.startswith(f"train.py: {file}: ")
    assert why in line
