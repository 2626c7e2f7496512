"""The command line, as a user meets it: what it writes, what it refuses, and how it goes on after a stop."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nerfcl.cli.main import main
from nerfcl.experiments import runs
from nerfcl.metrics.image import psnr

QUICK = ["--img-wh", "16", "16", "--finest", "16", "--steps", "12", "--rays", "128", "--evaluate-every", "6"]
QUICK += ["--evaluate-views", "1", "--frame-every", "4", "--memory-rays", "64", "--device", "cpu"]


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory, shared_scene: Path) -> Path:
    out = tmp_path_factory.mktemp("run") / "replay"
    assert main(["run", "--data", str(shared_scene), *QUICK, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def finished_comparison(tmp_path_factory: pytest.TempPathFactory, shared_scene: Path) -> Path:
    out = tmp_path_factory.mktemp("compare") / "three"
    arguments = ["compare", "--data", str(shared_scene), *QUICK, "--seeds", "0", "1", "--out", str(out)]
    assert main(arguments) == 0
    return out


def test_run_writes_everything_that_it_promises(finished_run: Path) -> None:
    found = files_in(finished_run)
    promised = {"config.json", "results.json", "matrix.png", "curves.png", "views.png", "forgetting.gif"}
    assert promised | {"checkpoints/task-1.pt", "checkpoints/task-2.pt"} <= found
    assert any("tfevents" in name for name in found)
    assert not [name for name in found if Path(name).name.startswith(".")], "a temporary file was left behind"


def test_results_hold_the_named_keys_and_agree_with_each_other(finished_run: Path) -> None:
    results = json.loads((finished_run / "results.json").read_text())
    keys = {"strategy", "tasks", "seed", "steps", "seconds", "R", "average", "backward_transfer", "forgetting"}
    assert keys | {"memory_bytes", "views"} <= results.keys()
    assert results["seconds"].keys() == {"training", "evaluation", "compilation"}
    assert (results["strategy"], results["tasks"], results["steps"]) == ("replay", ["right", "left"], 12)
    R = results["R"]
    assert results["average"] == pytest.approx((R[1][0] + R[1][1]) / 2)
    assert results["backward_transfer"] == pytest.approx(R[1][0] - R[0][0])
    assert results["forgetting"] == pytest.approx(R[0][0] - R[1][0])
    for j, task in enumerate(results["tasks"]):
        views = [view for view in results["views"] if view["task"] == task]
        assert np.mean([view["psnr"][1] for view in views]) == pytest.approx(R[1][j])
        assert all(-1.0 <= value <= 1.0 for view in views for value in view["ssim"])
    # 64 rays of 11 bytes; pose, intrinsics, size and time (76 bytes) for each of at most 6 frames
    assert 64 * 11 + 76 <= results["memory_bytes"] <= 64 * 11 + 76 * 6


def test_config_is_enough_to_run_it_again(finished_run: Path, tmp_path: Path) -> None:
    config = json.loads((finished_run / "config.json").read_text())
    command = config["command"].split()
    assert command[:2] == ["nerfcl", "run"]
    command[command.index("--out") + 1] = str(tmp_path / "again")
    assert main(command[1:]) == 0
    again, first = (json.loads((folder / "results.json").read_text()) for folder in (tmp_path / "again", finished_run))
    assert again["R"] == first["R"]


def test_comparison_shares_the_first_task_and_agrees_with_its_runs(finished_comparison: Path) -> None:
    comparison = json.loads((finished_comparison / "comparison.json").read_text())
    assert [row["strategy"] for row in comparison["rows"]] == ["finetune", "replay", "joint"]
    assert {"comparison.png", "curves.png", "report.html"} <= files_in(finished_comparison)
    for seed in (0, 1):
        first = {json.dumps(run["R"][0]) for run in comparison["runs"] if run["seed"] == seed}
        assert len(first) == 1, "all strategies begin with the same first task"
    for row in comparison["rows"]:
        runs = [run for run in comparison["runs"] if run["strategy"] == row["strategy"]]
        drops = [run["R"][1][0] - run["R"][0][0] for run in runs]
        assert row["drop"] == pytest.approx(np.mean(drops))
        assert row["drop_std"] == pytest.approx(np.std(drops, ddof=1))
        assert row["final"] == pytest.approx(np.mean([run["R"][1] for run in runs], axis=0))
    assert comparison["rows"][0]["memory_bytes"] == 0


def test_the_page_of_a_comparison_tells_its_figures_and_how_to_make_it_again(finished_comparison: Path) -> None:
    page = html.unescape((finished_comparison / "report.html").read_text(encoding="utf-8"))
    comparison = json.loads((finished_comparison / "comparison.json").read_text())
    for row in comparison["rows"]:
        assert row["strategy"] in page
        assert all(f"{value:.2f}" in page for value in row["final"])
    config = json.loads((finished_comparison / "config.json").read_text())
    assert config["command"] in page
    assert all(f"{package} {version}" in page for package, version in config["versions"].items())
    assert page.count("upper bound") > page.count("lower bound") > 0
    # Three strategies; truth, after both tasks and the error of both old test views.
    assert page.count("data:image/png;base64,") == 3 * 2 * 4


def test_a_comparison_takes_more_rows_and_seeds_later(shared_scene: Path, tmp_path: Path) -> None:
    out, start = tmp_path / "out", ["compare", "--data", str(shared_scene), *QUICK, "--out", str(tmp_path / "out")]
    assert main([*start, "--strategies", "replay"]) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")}
    assert main([*start, "--strategies", "finetune", "replay", "--seeds", "2"]) == 0
    assert before.items() <= {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")}.items()
    runs = json.loads((out / "comparison.json").read_text())["runs"]
    assert [(run["strategy"], run["seed"]) for run in runs] == [
        ("finetune", 0), ("finetune", 1), ("replay", 0), ("replay", 1),
    ]  # fmt: skip
    settings = json.loads((out / "config.json").read_text())["settings"]
    assert (settings["strategies"], settings["seeds"]) == (["finetune", "replay"], [0, 1])
    assert main([*start, "--strategies", "replay", "--rays", "65"]) == 2
    assert main([*start, "--strategies", "replay=replay:memory-rays=9"]) == 2, "another run of the same name"


def test_a_run_of_a_comparison_equals_the_run_by_itself(finished_comparison: Path, finished_run: Path) -> None:
    row = json.loads((finished_comparison / "seed-0/replay/results.json").read_text())
    alone = json.loads((finished_run / "results.json").read_text())
    assert row["R"] == alone["R"]
    assert row["views"] == alone["views"]


def test_the_table_says_what_was_forgotten(
    finished_comparison: Path, shared_scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ["compare", "--data", str(shared_scene), *QUICK, "--seeds", "0", "1", "--out", str(finished_comparison)]
    before = {p: p.stat().st_mtime_ns for p in finished_comparison.rglob("*.pt")}
    assert main(again) == 0
    printed = capsys.readouterr().out
    for word in ("finetune", "replay", "joint", "right", "left", "seconds", "kept", "comparison.png"):
        assert word in printed
    assert before == {p: p.stat().st_mtime_ns for p in finished_comparison.rglob("*.pt")}, "nothing is trained twice"


def test_a_run_that_was_stopped_goes_on_after_its_last_task(
    finished_run: Path, shared_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "stopped"
    arguments = ["run", "--data", str(shared_scene), *QUICK, "--out", str(out)]
    save, calls = runs.save_checkpoint, []

    def stop_at_the_second(*args: Any, **kwargs: Any) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        save(*args, **kwargs)

    monkeypatch.setattr(runs, "save_checkpoint", stop_at_the_second)
    assert main(arguments) == 130
    assert not (out / "results.json").exists()
    monkeypatch.undo()
    assert main(arguments) == 0
    assert len(json.loads((out / "results.json").read_text())["views"]) == 4
    resumed, straight = (json.loads((folder / "results.json").read_text()) for folder in (out, finished_run))
    assert resumed["R"] == straight["R"]


def test_eval_scores_what_it_saves(
    finished_run: Path, shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", str(finished_run / "checkpoints/task-2.pt"), "--data", str(shared_scene)]
    assert main([*arguments, "--split", "test", "--view", "right", "--out", str(tmp_path)]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    results = json.loads((finished_run / "results.json").read_text())
    assert scores["psnr"] == pytest.approx(results["R"][1][0])
    for view in scores["views"]:
        saved = np.asarray(Image.open(tmp_path / f"{view['name'].replace('/', '-')}.png"))
        with Image.open(shared_scene / f"{view['name']}.png") as image:
            white = Image.new("RGBA", image.size, "white")
            truth = np.asarray(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"))
        assert psnr(saved, truth) == pytest.approx(view["psnr"], abs=0.2)  # pillow rounds when it composites
    printed = capsys.readouterr().out
    assert re.search(rf"PSNR {scores['psnr']:.2f} dB", printed)


def test_eval_takes_the_scene_of_the_run_by_default(finished_run: Path, shared_scene: Path, tmp_path: Path) -> None:
    assert main(["eval", str(finished_run / "checkpoints/task-2.pt"), "--view", "right", "--out", str(tmp_path)]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["data"] == str(shared_scene)
    assert scores["psnr"] == pytest.approx(json.loads((finished_run / "results.json").read_text())["R"][1][0])


def test_a_fresh_process_that_compiles_gives_the_same_bits_as_one_that_loads(
    shared_scene: Path, tmp_path: Path
) -> None:
    import os
    import subprocess
    import sys

    code = (
        "import sys, nerfcl\n"
        "scene = nerfcl.load_scene(sys.argv[1], (64, 64))\n"
        "stream = nerfcl.make_stream(scene, ['right'])\n"
        "learner = nerfcl.new_learner(nerfcl.FineTune(), nerfcl.model_for(scene), 0)\n"
        "settings = nerfcl.TrainingSettings(steps=int(sys.argv[2]), evaluate_every=999, frame_every=999)\n"
        "nerfcl.learn(stream, learner, settings)\n"
        "print(sum(float(p.detach().double().abs().sum()) for p in learner.model.parameters()).hex())\n"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code, str(shared_scene), "150"]
    outputs = [
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout for _ in range(2)
    ]
    assert outputs[0] == outputs[1]


def test_rays_per_pixel_reaches_training_and_evaluation(shared_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "four"
    arguments = ["run", "--data", str(shared_scene), *QUICK, "--rays-per-pixel", "4", "--out", str(out)]
    assert main(arguments) == 0
    one = ["eval", str(out / "checkpoints/task-2.pt"), "--data", str(shared_scene), "--rays-per-pixel", "1"]
    assert main([*one, "--view", "right", "--out", str(tmp_path / "one")]) == 0
    four = json.loads((out / "results.json").read_text())["R"][1][0]
    assert json.loads((tmp_path / "one/scores.json").read_text())["psnr"] != pytest.approx(four, abs=1e-6)


def test_the_reference_network_runs_compares_and_is_evaluated(shared_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "nerf"
    small = [*QUICK, "--field", "nerf", "--samples", "6", "--importance", "4", "--rays", "32"]
    assert main(["run", "--data", str(shared_scene), *small, "--out", str(out)]) == 0
    results = json.loads((out / "results.json").read_text())
    assert main(["eval", str(out / "checkpoints/task-2.pt"), "--data", str(shared_scene), "--view", "left"]) == 0
    scores = json.loads((out / "eval/test-left/scores.json").read_text())
    assert scores["psnr"] == pytest.approx(results["R"][1][1])
    assert json.loads((out / "config.json").read_text())["settings"]["field"] == "nerf"


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Runs a command that must be refused: exit code 2, one line on stderr, no traceback."""
    capsys.readouterr()
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    lines = [line for line in printed.splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith("nerfcl: ")
    assert "Traceback" not in printed
    return lines[0]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--data", "no/such/scene"], "no/such/scene"),
        (["--strategy", "magic"], "magic"),
        (["--tasks", "upside-down"], "upside-down"),
        (["--tasks", "right", "right"], "twice"),
        (["--tasks", "sectors:0"], "sectors:0"),
        (["--img-wh", "4", "4"], "--img-wh"),
        (["--steps", "0"], "--steps"),
        (["--rays", "-1"], "--rays"),
        (["--rays-per-pixel", "2"], "--rays-per-pixel"),
        (["--memory-rays", "0"], "--memory-rays"),
        (["--learning-rate", "nan"], "--learning-rate"),
        (["--finest", "2"], "--finest"),
        (["--width", "0"], "--width"),
        (["--field", "voxels"], "--field"),
        (["--pixel-center", "7"], "--pixel-center"),
        (["--pixel-center", "nan"], "--pixel-center"),
        (["--learning-rate", "inf"], "--learning-rate"),
        (["--rays", "1000000000000"], "--rays"),
        (["--data", "~nobody-of-this-name/scene"], "--data"),
        (["--data", "a" * 300], "--data"),
        (["--tasks", "all", "right"], "--tasks"),
        (["--tasks", "sectors:2", "sectors:3"], "--tasks"),
        (["--samples", "2"], "--samples"),
        (["--device", "abacus"], "--device"),
    ],
)
def test_run_refuses_bad_options_and_writes_nothing(
    options: list[str], names: str, shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert names in refused(["run", "--data", str(shared_scene), *QUICK, "--out", str(out), *options], capsys)
    assert not out.exists()


def test_unknown_options_are_refused_with_exit_code_2() -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", "--no-such-option", "1"])
    assert stopped.value.code == 2


def test_a_folder_with_another_run_is_refused_and_left_alone(
    finished_run: Path, shared_scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: (finished_run / name).read_bytes() for name in files_in(finished_run)}
    line = refused(["run", "--data", str(shared_scene), *QUICK, "--seed", "7", "--out", str(finished_run)], capsys)
    assert "another run" in line
    assert "seed" in line
    assert before == {name: (finished_run / name).read_bytes() for name in files_in(finished_run)}


def test_a_folder_with_other_files_and_a_file_are_refused(
    shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert "--out" in refused(["run", "--data", str(shared_scene), *QUICK, "--out", str(tmp_path)], capsys)
    refused(["run", "--data", str(shared_scene), *QUICK, "--out", str(tmp_path / "thesis.txt")], capsys)
    refused(["run", "--data", str(shared_scene), *QUICK, "--out", str(tmp_path / ("a" * 300))], capsys)
    assert files_in(tmp_path) == {"thesis.txt"}


def test_compare_refuses_strategies_and_seeds_that_are_named_twice(
    shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["compare", "--data", str(shared_scene), *QUICK, "--out", str(tmp_path / "out")]
    assert "--strategies" in refused([*start, "--strategies", "replay", "replay"], capsys)
    assert "--seeds" in refused([*start, "--seeds", "1", "1"], capsys)
    assert "magic" in refused([*start, "--strategies", "magic"], capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "damage", ["missing", "text", "truncated", "another tensor file", "words", "a pickle with code"]
)
def test_eval_refuses_what_is_no_checkpoint(
    damage: str, finished_run: Path, shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "thing.pt"
    whole = (finished_run / "checkpoints/task-2.pt").read_bytes()
    if damage == "text":
        path.write_text("not a checkpoint")
    elif damage == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "another tensor file":
        torch.save({"weights": torch.zeros(3)}, path)
    elif damage == "words":
        path.write_text("root:x:0:0:root:/root:/bin/bash\n")
    elif damage == "a pickle with code":
        torch.save({"format": "nerfcl checkpoint 2", "model": math.sqrt}, path)
    line = refused(["eval", str(path), "--data", str(shared_scene)], capsys)
    assert str(path) in line


def test_eval_refuses_unknown_splits_and_views(
    finished_run: Path, shared_scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["eval", str(finished_run / "checkpoints/task-2.pt"), "--data", str(shared_scene)]
    assert "--split" in refused([*start, "--split", "holiday"], capsys)
    assert "sector 1/10" in refused([*start, "--view", "upwards"], capsys)
    assert "--rays-per-pixel" in refused([*start, "--rays-per-pixel", "0"], capsys)


def test_a_damaged_scene_is_refused_before_anything_is_written(
    shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = tmp_path / "scene"
    shutil.copytree(shared_scene, scene)
    image = sorted((scene / "test").glob("*.png"))[-1]
    image.write_bytes(image.read_bytes()[:60])
    line = refused(["run", "--data", str(scene), *QUICK, "--out", str(tmp_path / "out")], capsys)
    assert image.name in line
    assert not (tmp_path / "out").exists()


def test_compare_takes_rows_with_labels_and_options_of_their_own(
    shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rows"
    rows = ["worst first=replay:memory-fill=topk,memory-draw=topk", "all soft=replay:memory-rays=16,soft-replay"]
    arguments = ["compare", "--data", str(shared_scene), *QUICK, "--strategies", *rows, "--out", str(out)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "worst first" in printed
    assert "all soft" in printed
    comparison = json.loads((out / "comparison.json").read_text())
    assert [row["strategy"] for row in comparison["rows"]] == ["worst first", "all soft"]
    for folder, rays, each in (("worst-first", 64, 13), ("all-soft", 16, 11)):
        results = json.loads((out / "seed-0" / folder / "results.json").read_text())
        assert rays * each + 76 <= results["memory_bytes"] <= rays * each + 6 * 76
    first, second = ([run["R"] for run in comparison["runs"] if run["strategy"] == label]
                     for label in ("worst first", "all soft"))  # fmt: skip
    assert first[0][0] == second[0][0], "both begin with the same first task"
    assert first[0][1] != second[0][1]
    alone = tmp_path / "alone"
    assert main(["run", "--data", str(shared_scene), *QUICK, "--strategy", rows[0], "--out", str(alone)]) == 0
    results = json.loads((alone / "results.json").read_text())
    assert results["R"] == first[0]
    assert results["strategy"] == "worst first"


def test_compare_refuses_rows_that_cannot_be_told_apart_or_do_not_exist(
    shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["compare", "--data", str(shared_scene), *QUICK, "--out", str(tmp_path / "out"), "--strategies"]
    assert "same label" in refused([*start, "a=replay", "a=replay:soft-replay"], capsys)
    assert "same label" in refused([*start, "a b=replay", "a/b=finetune"], capsys), "one folder for both"
    assert "'replay' has no option 'colour'" in refused([*start, "finetune", "replay:colour=red"], capsys)
    assert "memory-rays=many" in refused([*start, "finetune", "replay:memory-rays=many"], capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("label", ["first-task", "..", "."])
def test_compare_refuses_labels_that_name_its_own_folders(
    label: str, shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["compare", "--data", str(shared_scene), *QUICK, "--out", str(tmp_path / "out"), "--strategies"]
    assert "label" in refused([*start, "finetune", f"{label}=replay"], capsys)
    assert not (tmp_path / "out").exists()


def test_epochs_and_schedules_reach_a_run_and_are_told(shared_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "epochs"
    options = ["--epochs", "2", "--schedule", "step", "--decay-epochs", "1", "3", "--optimiser", "sgd"]
    options += ["--learning-rate", "0.5"]
    assert main(["run", "--data", str(shared_scene), *QUICK, *options, "--out", str(out)]) == 0
    found = next(path for path in out.rglob("*tfevents*"))
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    events = EventAccumulator(str(found.parent), size_guidance={SCALARS: 0})
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"train/loss", "train/psnr", "train/replay_loss", "lr"} <= tags
    rates = [(event.step, event.value) for event in events.Scalars("lr")]
    # 3 views of 16 x 16 a task, 128 a step: 6 steps an epoch; steps are counted from 1.
    assert [step for step, _ in rates] == [1, 10, 20, 24]
    assert [value for _, value in rates] == pytest.approx([0.5, 0.05, 0.005, 0.005])


def test_eval_of_a_stream_renders_with_the_running_mean(shared_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "stream"
    options = ["--data", str(shared_scene), "--img-wh", "16", "16", "--finest", "16", "--rays", "64"]
    options += ["--order", "file", "--iters-per-chunk", "6", "--average", "0.5", "--out", str(out)]
    assert main(["online", *options]) == 0
    assert main(["eval", str(out / "checkpoints/latest.pt"), "--view", "all", "--out", str(tmp_path / "eval")]) == 0
    results, scores = (json.loads(path.read_text()) for path in (out / "results.json", tmp_path / "eval/scores.json"))
    assert scores["psnr"] == pytest.approx(results["psnr"], abs=1e-6)
