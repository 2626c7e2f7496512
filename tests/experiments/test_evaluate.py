"""`nerfcl eval` scores every checkpoint that anything here writes, and gives the figures that the run gave."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nerfcl.cli.main import main
from nerfcl.cli.reference import online_main, train_main
from nerfcl.errors import NerfclError
from nerfcl.experiments.evaluate import EvaluationRequest, evaluate_checkpoint
from nerfcl.metrics.image import psnr, ssim
from nerfcl.models.fields.hash_grid import HashGridSettings
from nerfcl.models.rendering.model import render_image
from nerfcl.models.settings import model_settings
from nerfcl.online.learner import OnlineLearner
from nerfcl.online.settings import OnlineSettings
from nerfcl.scenes import load_scene
from nerfcl.scenes.cameras import Camera
from nerfcl.strategies.finetune import FineTune
from nerfcl.training.checkpoints import load_checkpoint
from support.folders import read_json, results_in
from support.refusals import refused
from support.scenes import TINY_ANGLE, TINY_SIZE, picture_of_ball, ring_pose, write_tiny_scene

QUICK = ["--img-wh", "16", "16", "--max-resolution", "16", "--rays", "64", "--evaluate-views", "1", "--device", "cpu"]
# Averages that lag behind, so that figures tell whether they were used.
TASKS = ["--data", "tiny", *QUICK, "--steps", "12", "--evaluate-every", "6", "--ema-decay", "0.9"]
FRAMES = ["--data", "tiny", *QUICK, "--steps", "8", "--evaluate-every", "8"]
SHARED = "--root_dir tiny --img_wh 16 16 --batch_size 64 --lr 2e-2 --exp_seed 42 --device cpu --val_after_n_epochs 1"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_scene(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)


def views_of(folder: Path) -> dict[str, float]:
    return {view["name"]: view["psnr"][-1] for view in results_in(folder)["views"]}


def by_run() -> tuple[Path, dict[str, float]]:
    assert main(["run", *TASKS, "--out", "out"]) == 0
    return Path("out/checkpoints/task-2.pt"), views_of(Path("out"))


def by_rays_per_pixel() -> tuple[Path, dict[str, float]]:
    assert main(["run", *TASKS, "--rays-per-pixel", "4", "--strategy", "finetune", "--out", "out"]) == 0
    return Path("out/checkpoints/task-2.pt"), views_of(Path("out"))


def by_compare() -> tuple[Path, dict[str, float]]:
    assert main(["compare", *TASKS, "--strategies", "generative", "--out", "out"]) == 0
    return Path("out/seed-0/generative/checkpoints/task-2.pt"), views_of(Path("out/seed-0/generative"))


def by_online() -> tuple[Path, dict[str, float]]:
    assert main(["online", *FRAMES, "--out", "out"]) == 0
    return Path("out/checkpoints/latest.pt"), views_of(Path("out"))


def by_compare_online() -> tuple[Path, dict[str, float]]:
    assert main(["compare-online", *FRAMES, "--strategies", "joint", "--out", "out"]) == 0
    return Path("out/seed-0/joint/checkpoints/latest.pt"), views_of(Path("out/seed-0/joint"))


def by_watching() -> tuple[Path, dict[str, float]]:
    folder = Path("camera")
    (folder / "images").mkdir(parents=True)
    frames: list[dict[str, Any]] = []
    for i in range(5):
        pose = ring_pose(40.0 * i)
        Image.fromarray(picture_of_ball(pose)).save(folder / f"images/r_{i}.png")
        frames.append({"file_path": f"./images/r_{i}", "transform_matrix": pose.tolist()})
    (folder / "transforms.json").write_text(json.dumps({"camera_angle_x": TINY_ANGLE, "frames": frames}))
    (folder / "done").touch()
    assert main(["online", "--watch", "camera", *QUICK[:-4], "--device", "cpu", "--out", "out"]) == 0
    values = results_in(Path("out"))["psnr_of_frames"]
    return Path("out/checkpoints/latest.pt"), {f"r_{i}": value for i, value in enumerate(values)}


def by_train() -> tuple[Path, dict[str, float]]:
    assert train_main(f"{SHARED} --num_epochs 1 --monitor val/loss --exp_name r".split()) == 0
    return Path("ckpts/r/epoch=1.ckpt"), rendered_by("ckpts/r/epoch=1.ckpt")


def by_train_online() -> tuple[Path, dict[str, float]]:
    online = "--dataset_name blender_online --online_cl_mode --num_frames 6 --chunk_size 2 --num_iters_per_chunk 8"
    assert online_main(f"{SHARED} {online} --num_epochs 3 --monitor val/loss --exp_name o".split()) == 0
    return Path("ckpts/o/epoch=3.ckpt"), rendered_by("ckpts/o/epoch=3.ckpt")


def rendered_by(path: str) -> dict[str, float]:
    """PSNR of the test views, rendered by the checkpoint's model alone."""
    checkpoint, test = load_checkpoint(Path(path)), load_scene("tiny").test
    model = checkpoint.model_settings.build(0)
    model.load_state_dict(checkpoint.model)
    found = {}
    for i, camera in enumerate(cameras_of("test")):
        image = (render_image(model, camera).rgb.clamp(0.0, 1.0) * 255.0).round().byte().numpy()
        found[test.names[i]] = psnr(image, test.images[i].numpy())
    return found


def cameras_of(split: str) -> list[Camera]:
    views = getattr(load_scene("tiny"), split)
    return [Camera(*pair, TINY_SIZE, TINY_SIZE) for pair in zip(views.poses, views.intrinsics, strict=True)]


@pytest.mark.parametrize(
    "write",
    [by_run, by_rays_per_pixel, by_compare, by_online, by_compare_online, by_watching, by_train, by_train_online],
)
def test_the_figures_are_those_of_the_run(write: Callable[[], tuple[Path, dict[str, float]]]) -> None:
    checkpoint, expected = write()
    assert main(["eval", str(checkpoint), "--device", "cpu", "--out", "scores"]) == 0
    scores = read_json(Path("scores/scores.json"))
    found = {view["name"]: view["psnr"] for view in scores["views"]}
    assert found == pytest.approx(expected, abs=1e-9)
    assert scores["psnr"] == pytest.approx(np.mean(list(expected.values())))


def test_a_watched_folder_is_rendered_at_another_size(capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = str(by_watching()[0])
    assert main(["eval", checkpoint, "--device", "cpu", "--max-side", "12", "--out", "scores"]) == 0
    with Image.open("scores/r_0.png") as rendered:
        assert rendered.size == (12, 12)
    for option in (["--max-side", "0"], ["--img-wh", "8", "8"]):
        line = refused(main, ["eval", checkpoint, *option, "--out", "none"], capsys, out=Path("none"))
        assert f"{' '.join(option)}: images must be at least" in line


def test_a_learner_is_scored_on_a_scene_that_shows_the_same_place(capsys: pytest.CaptureFixture[str]) -> None:
    scene = load_scene("tiny")
    settings = model_settings(scene, HashGridSettings(max_resolution=16))
    with OnlineLearner(settings, FineTune(), OnlineSettings(steps_per_chunk=4, rays=64), seed=1) as learner:
        for view in zip(scene.train.images, scene.train.poses, scene.train.intrinsics, strict=True):
            learner.observe(*view)
        learner.finish()
        learner.save("learner.pt")
        rendered = [learner.render(camera).rgb for camera in cameras_of("test")]
    images = [(rgb.clamp(0.0, 1.0) * 255.0).round().byte().numpy() for rgb in rendered]
    truths = scene.test.images.numpy()
    assert main(["eval", "learner.pt", "--out", "scores"]) == 2
    assert "give a scene of the same place with --data" in capsys.readouterr().err
    assert main(["eval", "learner.pt", "--data", "tiny", "--out", "scores"]) == 0
    scores = read_json(Path("scores/scores.json"))
    assert [view["psnr"] for view in scores["views"]] == pytest.approx([*map(psnr, images, truths)])
    assert [view["ssim"] for view in scores["views"]] == pytest.approx([*map(ssim, images, truths)])
    for name, image in zip(scene.test.names, images, strict=True):
        with Image.open(f"scores/{name.replace('/', '-')}.png") as saved:
            assert np.array_equal(np.asarray(saved), image)


def test_averaged_parameters_make_a_difference_that_these_tests_would_notice() -> None:
    checkpoint, expected = by_run()
    raw = rendered_by(str(checkpoint))
    assert min(abs(raw[name] - expected[name]) for name in raw) > 1e-3


def test_views_can_be_chosen() -> None:
    assert main(["run", *TASKS, "--strategy", "finetune", "--out", "out"]) == 0
    names = {}
    for split, view in (("train", "right"), ("val", "left"), ("test", "sector 1/4"), ("test", "all")):
        request = EvaluationRequest(Path("out/checkpoints/task-2.pt"), split=split, view=view, device="cpu")
        names[split, view] = {scored["name"] for scored in evaluate_checkpoint(request)["views"]}
    assert names["train", "right"] == {"train/r_0", "train/r_1", "train/r_2"}
    assert names["val", "left"] == {"val/r_2", "val/r_3"}
    assert names["test", "sector 1/4"] == {"test/r_0"}
    assert len(names["test", "all"]) == 4
    assert (Path("out/eval/test-sector-1-4") / "test-r_0.png").is_file()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"split": "spring"}, r"split='spring': must be one of train, val, test"),
        ({"view": "above"}, r"'above'"),
        ({"view": "sector 12/36"}, r"view='sector 12/36': matches no test view of tiny"),
        ({"rays_per_pixel": 3}, r"rays_per_pixel=3"),
        ({"data": "nowhere"}, r"nowhere"),
    ],
)
def test_what_cannot_be_rendered_is_refused(changes: dict[str, Any], words: str) -> None:
    assert main(["run", *TASKS, "--strategy", "finetune", "--tasks", "all", "--out", "out"]) == 0
    with pytest.raises(NerfclError, match=words):
        evaluate_checkpoint(EvaluationRequest(Path("out/checkpoints/task-1.pt"), device="cpu", **changes))
    assert not Path("out/eval").exists()
