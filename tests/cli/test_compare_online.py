"""`nerfcl compare-online`, as a user meets it: what it writes, what it refuses, and how it goes on after a stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nerfcl.cli.main import main
from nerfcl.experiments import stream_runs
from nerfcl.reports.run.results import stream_row
from nerfcl.reports.tables import stream_table
from nerfcl.training.checkpoints import load_checkpoint
from nerfcl.training.learner import Learner

QUICK = ["--img-wh", "16", "16", "--finest", "16", "--rays", "64", "--memory-rays", "99", "--chunk-frames", "2"]
QUICK += ["--iters-per-chunk", "4", "--evaluate-every", "99", "--device", "cpu"]


def command(scene: Path, out: Path, *more: str) -> list[str]:
    return ["compare-online", "--data", str(scene), *QUICK, "--out", str(out), *more]


def comparison_in(out: Path) -> dict[str, Any]:
    return json.loads((out / "comparison.json").read_text())


def without_time(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in ("seconds", "frames_per_second")}


def assert_same_run(one: Path, two: Path) -> None:
    """All that two runs left is equal, but for the seconds that they took."""
    a, b = (json.loads((folder / "results.json").read_text()) for folder in (one, two))
    assert without_time(a) == without_time(b)
    first, second = (load_checkpoint(folder / "checkpoints/latest.pt") for folder in (one, two))
    assert first.run == second.run
    weights = {name: value for name, value in first.model.items() if isinstance(value, torch.Tensor)}
    assert weights
    assert all(torch.equal(value, second.model[name]) for name, value in weights.items())
    for name in ("curve", "looks", "seen", "R", "psnr"):
        assert repr(getattr(first.history, name)) == repr(getattr(second.history, name)), name


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, shared_scene: Path) -> Path:
    out = tmp_path_factory.mktemp("compare-online") / "three"
    assert main(command(shared_scene, out, "--seeds", "0", "1")) == 0
    return out


def test_it_agrees_with_its_runs(finished: Path) -> None:
    comparison = comparison_in(finished)
    rows = {row["strategy"]: row for row in comparison["rows"]}
    assert list(rows) == ["finetune", "replay", "joint"]
    assert len(comparison["runs"]) == 6
    assert all("views" not in run for run in comparison["runs"])
    ends = {name: [run["psnr"] for run in comparison["runs"] if run["strategy"] == name] for name in rows}
    for name, row in rows.items():
        assert row["psnr"] == pytest.approx(np.mean(ends[name]))
        assert row["psnr_std"] == pytest.approx(np.std(ends[name], ddof=1))
        for seed, end in enumerate(ends[name]):
            assert json.loads((finished / f"seed-{seed}/{name}/results.json").read_text())["psnr"] == end
    assert rows["replay"]["to_joint"] == pytest.approx(np.mean(ends["replay"]) - np.mean(ends["joint"]))
    assert rows["joint"]["to_joint"] is rows["joint"]["forgetting"] is rows["joint"]["backward_transfer"] is None
    assert rows["finetune"]["memory_bytes"] == 0 < rows["replay"]["memory_bytes"]


@pytest.mark.parametrize("strategy", ["replay", "joint"])
def test_a_run_of_a_comparison_equals_the_run_by_itself(
    strategy: str, finished: Path, shared_scene: Path, tmp_path: Path
) -> None:
    alone = ["online", *command(shared_scene, tmp_path / "alone")[1:], "--strategy", strategy, "--seed", "1"]
    assert main(alone) == 0
    assert_same_run(finished / "seed-1" / strategy, tmp_path / "alone")
    # And the command goes on with the comparison's folder as with its own.
    alone[alone.index("--out") + 1] = str(finished / "seed-1" / strategy)
    assert main(alone) == 0


def test_the_same_command_again_trains_nothing_and_prints_the_table(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = json.loads((finished / "config.json").read_text())["command"].split()
    assert again[:2] == ["nerfcl", "compare-online"]
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.pt")}
    assert len(before) == 6
    assert main(again[1:]) == 0
    printed = capsys.readouterr().out
    for word in ("finetune", "replay", "joint", "forgetting", "frames/s", "seconds", "kept", "±", "curve.png"):
        assert word in printed
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*.pt")}


def test_a_comparison_that_was_stopped_goes_on_after_its_last_chunk(
    finished: Path, shared_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, save, learned = tmp_path / "stopped", stream_runs.save_checkpoint, []

    def stop(path: Path, learner: Learner, *rest: Any) -> None:
        save(path, learner, *rest)
        learned.append((path.parts[-3], learner.history.steps))
        if len(learned) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(stream_runs, "save_checkpoint", stop)
    assert main(command(shared_scene, out)) == 130
    assert not (out / "comparison.json").exists()
    over = out / "seed-0/finetune/checkpoints/latest.pt"
    before = over.stat().st_mtime_ns
    assert main(command(shared_scene, out)) == 0
    assert learned == [*((name, steps) for name in ("finetune", "replay") for steps in (4, 8, 12)), ("joint", 12)]
    assert over.stat().st_mtime_ns == before
    for name in ("finetune", "replay", "joint"):
        assert_same_run(out / "seed-0" / name, finished / "seed-0" / name)


@pytest.mark.parametrize(
    ("options", "needle"),
    [
        (["--strategies", "replay", "replay"], "--strategies replay replay: name at least one, and none twice"),
        (["--strategies"], "--strategies"),
        (["--seeds", "1", "1"], "--seeds 1 1"),
        (["--strategies", "finetune", "magic"], "magic"),
        (["--strategies", "a=replay", "a=replay:memory-fill=reservoir"], "same label"),
        (["--strategies", "a b=replay", "a/b=finetune"], "same label"),
        (["--strategies", "finetune", "..=replay"], "label"),
        (["--strategies", "finetune", "replay:colour=red"], "'replay' has no option 'colour'"),
        (["--strategies", "finetune", "replay:memory-rays=0"], "--memory-rays 0"),
        (["--strategies", "finetune", "soft-targets"], "without boundaries"),
        (["--iters-per-chunk", "0"], "--iters-per-chunk 0"),
        (["--seen-every", "0"], "--seen-every 0"),
        (["--data", "/nowhere"], "/nowhere"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    options: list[str], needle: str, shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(shared_scene, tmp_path / "out", *options)) == 2
    printed = capsys.readouterr().err
    assert needle in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--strategy", "--seed", "--watch", "--box"])
def test_options_of_a_single_run_are_unknown(option: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["compare-online", option, "1"])
    assert stopped.value.code == 2


def test_the_scene_is_loaded_once(shared_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load, scenes = stream_runs.scene_of, []

    def counted(config: Any) -> Any:
        scenes.append(load(config))
        return scenes[-1]

    monkeypatch.setattr(stream_runs, "scene_of", counted)
    out = tmp_path / "out"
    assert main(command(shared_scene, out, "--strategies", "finetune", "joint", "--chunk-frames", "6")) == 0
    assert len(scenes) == 1


def test_the_pictures_show_streams_and_the_curve_joint_too(finished: Path) -> None:
    with Image.open(finished / "frames.gif") as image:
        assert (getattr(image, "n_frames", 1), image.width) == (3, 56 + 6 * (800 // 6) + 20)
        image.seek(2)
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or []}
    assert {(0, 0x72, 0xB2), (0xD5, 0x5E, 0)} <= colours, "two strategies"
    assert (0, 0x9E, 0x73) not in colours, "joint saw all at once"
    with Image.open(finished / "frames.png") as image:
        assert 1100 < image.width < 1500, "two strategies side by side"
    with Image.open(finished / "curve.png") as image:
        assert 1000 < image.width < 1300
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or []}
    assert {(0, 0x72, 0xB2), (0xD5, 0x5E, 0), (0, 0x9E, 0x73)} <= colours


def test_of_many_strategies_four_are_side_by_side(
    shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{label}=finetune" for label in "abcde"]
    more = ["--strategies", *rows, "--chunk-frames", "6", "--iters-per-chunk", "1"]
    assert main(command(shared_scene, tmp_path / "out", *more)) == 0
    printed = capsys.readouterr().out
    assert "frames.png and frames.gif show the first 4 strategies: a, b, c, d" in printed
    assert "minus" not in printed
    assert [row["to_joint"] for row in comparison_in(tmp_path / "out")["rows"]] == [None] * 5


# The table, by hand


def result(psnr: float, *, seconds: float = 4.0, forgotten: float | None = None, kept: int = 0) -> dict[str, Any]:
    """As much of a run's results.json as a row needs; with nothing forgotten there was one scoring only."""
    return {
        "psnr": psnr,
        "R": [[psnr]] if forgotten is None else [[psnr], [psnr]],
        "forgetting": forgotten or 0.0,
        "backward_transfer": -(forgotten or 0.0) / 2.0,
        "seconds": {"training": seconds},
        "memory_bytes": kept,
    }


def cells(table: Any) -> list[list[str]]:
    """Its rows, the headers first."""
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    return [list(line) for line in zip(*columns, strict=True)]


def test_differences_to_joint_are_taken_seed_by_seed() -> None:
    joint = [result(30.0), result(32.0), result(31.0)]
    # 1, 2 and 3 dB below joint: the strategies vary less than their differences.
    replay = [result(29.0, seconds=2.0, forgotten=1.0, kept=2048), result(30.0, seconds=8.0, forgotten=2.0, kept=2048),
              result(28.0, seconds=8.0, forgotten=0.0, kept=2048)]  # fmt: skip
    rows = [stream_row("replay", replay, 40, joint), stream_row("joint", joint, 40)]
    assert (rows[0]["to_joint"], rows[0]["to_joint_std"]) == (-2.0, 1.0)
    assert (rows[0]["psnr"], rows[0]["psnr_std"]) == (29.0, 1.0)
    assert rows[0]["frames_per_second"] == pytest.approx((20.0 + 5.0 + 5.0) / 3)
    assert cells(stream_table(rows, "joint")) == [
        ["strategy", "PSNR", "minus\njoint", "forgetting", "backward\ntransfer", "frames/s", "seconds", "kept"],
        ["replay", "29.00 ± 1.00", "-2.00 ± 1.00", "+1.00", "-0.50", "10", "6.0", "2.0 KB"],
        ["joint", "31.00 ± 1.00", "", "", "", "10", "4.0", "0"],
    ]


def test_one_seed_has_no_deviation_and_without_joint_there_is_no_difference() -> None:
    rows = [stream_row("finetune", [result(20.0, forgotten=-0.25)], 10)]
    assert cells(stream_table(rows)) == [
        ["strategy", "PSNR", "forgetting", "backward\ntransfer", "frames/s", "seconds", "kept"],
        ["finetune", "20.00", "-0.25", "+0.12", "2.5", "4.0", "0"],
    ]
