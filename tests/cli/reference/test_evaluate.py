"""eval.py: images, depths, an animation and the mean PSNR of the checkpoint's model."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from PIL import Image

from nerfcl.metrics.image import psnr
from nerfcl.models.rendering.model import Model, render_image
from nerfcl.scenes import load_scene
from nerfcl.training.checkpoints import Checkpoint
from support.folders import files_in
from support.reference import EVAL, NERF, RIGHT, checkpoint, checkpoint_path, evaluate, train

TEST = f"{EVAL} --split test"
RESULTS = Path("results/blender/test/results")


def model_of(saved: Checkpoint) -> Model:
    """The checkpoint's model with the parameters as they are after the last step."""
    model = saved.model_settings.build(0)
    model.load_state_dict(saved.model)
    return model


def rewrite(path: Path, **content: Any) -> None:
    """Change what a checkpoint holds."""
    torch.save({**torch.load(path, weights_only=True), **content}, path)


def images_in(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(file)) for file in sorted(folder.glob("r_*.png"))]


def read_pfm(path: Path) -> np.ndarray:
    """(H, W) with the top row first; as the format is described by its author, P. Debevec."""
    kind, size, scale, data = path.read_bytes().split(b"\n", 3)
    assert kind == b"Pf"
    width, height = map(int, size.split())
    order = "<" if float(scale) < 0 else ">"
    values = struct.unpack(f"{order}{width * height}f", data)
    return np.array([values[row * width : (row + 1) * width] for row in reversed(range(height))])


@pytest.mark.parametrize(("view", "positions"), [("right", [0, 1]), ("left", [2, 3]), ("NA", [0, 1, 2, 3])])
def test_mean_psnr_is_that_of_the_files(
    here: Path, view: str, positions: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(f"{TEST} --scene_name ball --save_dir_name {view} --test_view {view}")
    folder = Path("results/blender/ball") / view
    assert files_in(folder) == {*(f"r_{i}.png" for i in range(len(positions))), "ball.gif"}
    truth = load_scene("tiny", (16, 16)).test.images
    scores = [psnr(image, truth[i].numpy()) for image, i in zip(images_in(folder), positions, strict=True)]
    said = capsys.readouterr().out
    assert said.startswith(f"Mean PSNR : {np.mean(scores):.2f}\n")
    assert str(folder) in said
    assert imageio.imread(folder / "ball.gif").shape[:3] == (len(positions), 16, 16)
    assert imageio.immeta(folder / "ball.gif")["duration"] == 30  # a GIF counts hundredths of a second


def test_views_are_rendered_with_the_averaged_parameters_where_there_are_any(here: Path) -> None:
    """As the checkpoint's own run evaluated itself. Averages here are half of the parameters."""
    model = model_of(checkpoint("r", 8))
    averages = [0.5 * parameter.detach() for parameter in model.parameters()]
    evaluate(f"{TEST} --test_view NA")
    before = images_in(RESULTS)
    rewrite(checkpoint_path("r", 8), ema={"count": 48, "values": averages})
    evaluate(f"{TEST} --test_view NA")

    with torch.no_grad():
        for parameter, average in zip(model.parameters(), averages, strict=True):
            parameter.copy_(average)
    views = load_scene("tiny", (16, 16)).test
    for i, image in enumerate(images_in(RESULTS)):
        rgb = render_image(model, views.camera(i)).rgb
        assert np.array_equal(image, (rgb.clamp(0.0, 1.0) * 255.0).round().byte().numpy())
        assert not np.array_equal(image, before[i])


def test_depths_are_the_models(here: Path) -> None:
    model, views = model_of(checkpoint("r", 8)), load_scene("tiny", (16, 16)).test
    for form in ("pfm", "bytes"):
        evaluate(f"{TEST} --test_view left --save_depth --depth_format {form}")
    for i, position in enumerate([2, 3]):
        depth = render_image(model, views.camera(position)).depth.numpy()
        assert np.array_equal(read_pfm(RESULTS / f"depth_00{i}.pfm"), depth)
        raw = np.frombuffer((RESULTS / f"depth_00{i}").read_bytes(), "<f4").reshape(16, 16)
        assert np.array_equal(raw, depth)
        assert depth.max() > 1.0


# What nerfcl's own commands write tells no flags.
@pytest.mark.parametrize("own", [False, True], ids=["of train.py", "of nerfcl"])
def test_pixel_centers_are_the_checkpoints_unless_told_otherwise(here: Path, own: bool) -> None:
    train(f"{RIGHT} --pixel_center 0.0 --num_epochs 3 --exp_name corners")
    if own:
        rewrite(checkpoint_path("corners", 3), extra={})
    images = []
    for flags in ("", "--pixel_center 0.0", "--pixel_center 0.5"):
        evaluate(f"{TEST} --test_view right --ckpt_path ckpts/corners/epoch=3.ckpt {flags}")
        images.append(np.stack(images_in(RESULTS)))
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[1], images[2])


def test_how_rays_of_the_reference_networks_are_sampled_is_not_the_checkpoints_to_decide(here: Path) -> None:
    train(f"{RIGHT} {NERF} --batch_size 768 --num_epochs 1 --exp_name nr")
    depths = []
    for samples in (4, 8):
        flags = f"--ckpt_path ckpts/nr/epoch=1.ckpt --field nerf --N_samples {samples} --N_importance 4 --save_depth"
        evaluate(f"{TEST} --test_view right {flags}")
        depths.append(read_pfm(RESULTS / "depth_000.pfm"))
    assert not np.allclose(depths[0], depths[1])
