"""`nerfcl compare-online`, as a user meets it: what it writes, and how it goes on after a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cli.quick import FRAMES
from nerfcl.cli.main import main
from nerfcl.config.experiment import SceneSettings
from nerfcl.training.checkpoints import save_checkpoint
from nerfcl.training.learner import Learner
from support.folders import assert_same_run, read_json, results_in
from support.pictures import gif_pages

BLUE, VERMILION, GREEN = (0, 0x72, 0xB2), (0xD5, 0x5E, 0), (0, 0x9E, 0x73)


def command(scene: Path, out: Path, *more: str) -> list[str]:
    return ["compare-online", "--data", str(scene), *FRAMES, "--out", str(out), *more]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, shared_scene: Path) -> Path:
    """Fine-tuning, replay and joint training, with two seeds."""
    out = tmp_path_factory.mktemp("compare-online") / "three"
    assert main(command(shared_scene, out, "--memory-rays", "99", "--seeds", "0", "1")) == 0
    return out


def test_it_agrees_with_its_runs(finished: Path) -> None:
    comparison = read_json(finished / "comparison.json")
    rows = {row["strategy"]: row for row in comparison["rows"]}
    assert list(rows) == ["finetune", "replay", "joint"]
    assert len(comparison["runs"]) == 6
    assert all("views" not in run for run in comparison["runs"])
    ends = {name: [run["psnr"] for run in comparison["runs"] if run["strategy"] == name] for name in rows}
    for name, row in rows.items():
        assert row["psnr"] == pytest.approx(np.mean(ends[name]))
        assert row["psnr_std"] == pytest.approx(np.std(ends[name], ddof=1))
        assert [results_in(finished / f"seed-{seed}" / name)["psnr"] for seed in (0, 1)] == ends[name]
    assert rows["replay"]["to_joint"] == pytest.approx(np.mean(ends["replay"]) - np.mean(ends["joint"]))
    assert rows["joint"]["to_joint"] is rows["joint"]["forgetting"] is rows["joint"]["backward_transfer"] is None
    assert rows["finetune"]["memory_bytes"] == 0 < rows["replay"]["memory_bytes"]


@pytest.mark.parametrize(("strategy", "more"), [("replay", ["--memory-rays", "99"]), ("joint", [])])
def test_a_run_of_a_comparison_equals_the_run_by_itself(
    strategy: str, more: list[str], finished: Path, shared_scene: Path, tmp_path: Path
) -> None:
    options = ["--strategy", strategy, "--seed", "1", *more]
    alone = ["online", *command(shared_scene, tmp_path / "alone")[1:], *options]
    assert main(alone) == 0
    assert_same_run(finished / "seed-1" / strategy, tmp_path / "alone")
    # And the command goes on with the comparison's folder as with its own.
    alone[alone.index("--out") + 1] = str(finished / "seed-1" / strategy)
    assert main(alone) == 0


def test_the_command_in_its_config_trains_nothing_again_and_prints_the_table(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = read_json(finished / "config.json")["command"].split()
    assert again[:2] == ["nerfcl", "compare-online"]
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.pt")}
    assert len(before) == 6 + 4, "a checkpoint of each row, and the one before it where there were several chunks"
    assert main(again[1:]) == 0
    printed = capsys.readouterr().out
    for word in ("finetune", "replay", "joint", "forgetting", "frames/s", "seconds", "kept", "±", "curve.png"):
        assert word in printed
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*.pt")}


def test_a_comparison_that_was_stopped_goes_on_after_its_last_chunk(
    finished: Path, shared_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, learned = tmp_path / "stopped", []
    arguments = command(shared_scene, out, "--memory-rays", "99")

    def stop(path: Path, learner: Learner, *args: Any, **kwargs: Any) -> None:
        save_checkpoint(path, learner, *args, **kwargs)
        learned.append((path.parts[-3], learner.history.steps))
        if len(learned) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr("nerfcl.experiments.outputs.save_checkpoint", stop)
    assert main(arguments) == 130
    assert not (out / "comparison.json").exists()
    over = out / "seed-0/finetune/checkpoints/latest.pt"
    before = over.stat().st_mtime_ns
    assert main(arguments) == 0
    assert learned == [*((name, steps) for name in ("finetune", "replay") for steps in (10, 20, 30)), ("joint", 30)]
    assert over.stat().st_mtime_ns == before
    for name in ("finetune", "replay", "joint"):
        assert_same_run(out / "seed-0" / name, finished / "seed-0" / name)


def test_the_scene_is_loaded_once(shared_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load, scenes = SceneSettings.load, []

    def counted(settings: SceneSettings, *args: Any) -> Any:
        scenes.append(load(settings, *args))
        return scenes[-1]

    monkeypatch.setattr(SceneSettings, "load", counted)
    out = tmp_path / "out"
    assert main(command(shared_scene, out, "--strategies", "finetune", "joint", "--chunk-frames", "6")) == 0
    assert len(scenes) == 1


def test_the_pictures_show_streams_and_the_curve_joint_training_too(finished: Path) -> None:
    pages, _ = gif_pages(finished / "frames.gif")
    assert (len(pages), pages[0].shape[1]) == (3, 56 + 6 * (800 // 6) + 20)
    colours = {tuple(colour) for colour in pages[2].reshape(-1, 3).tolist()}
    assert {BLUE, VERMILION} <= colours, "two strategies"
    assert GREEN not in colours, "joint training saw all at once"
    with Image.open(finished / "frames.png") as image:
        assert 1100 < image.width < 1500, "two strategies side by side"
    with Image.open(finished / "curve.png") as image:
        assert 1000 < image.width < 1300
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or []}
    assert {BLUE, VERMILION, GREEN} <= colours


def test_of_many_strategies_four_are_side_by_side(
    shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--strategies", *(f"{label}=finetune" for label in "abcde"), "--chunk-frames", "6"]
    assert main(command(shared_scene, tmp_path / "out", *more, "--steps", "1")) == 0
    printed = capsys.readouterr().out
    assert "frames.png and frames.gif show the first 4 strategies: a, b, c, d" in printed
    assert "minus" not in printed
    assert [row["to_joint"] for row in read_json(tmp_path / "out/comparison.json")["rows"]] == [None] * 5
