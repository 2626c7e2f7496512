"""`nerfcl compare`, as a user meets it: what it writes, and how it grows and goes on."""

from __future__ import annotations

import html
import json
from pathlib import Path

import numpy as np
import pytest

from cli.quick import CAMERA, RAY, TASKS
from nerfcl.cli.main import main
from nerfcl.training.checkpoints import load_checkpoint
from support.folders import files_in, read_json, results_in, without_time
from support.learning import plain_history, same

QUICK = [*TASKS, "--memory-rays", "64"]


def command(scene: Path, out: Path, *more: str) -> list[str]:
    return ["compare", "--data", str(scene), *QUICK, "--out", str(out), *more]


def assert_same_outcome(one: Path, other: Path) -> None:
    """Two runs left the same, but for the seconds, and for the steps that a memory counts: not those of a first task
    that was learned before the strategy was there."""
    assert files_in(one) == files_in(other)
    assert without_time(results_in(one)) == without_time(results_in(other))
    a, b = (load_checkpoint(folder / "checkpoints/task-2.pt") for folder in (one, other))
    assert same(a.model, b.model)
    assert plain_history(a.history) == plain_history(b.history)


def times_of_checkpoints(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.pt")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, shared_scene: Path) -> Path:
    """Fine-tuning, replay and joint training, with two seeds."""
    out = tmp_path_factory.mktemp("compare") / "three"
    assert main(command(shared_scene, out, "--seeds", "2")) == 0
    return out


def test_it_shares_the_first_task_and_agrees_with_its_runs(finished: Path) -> None:
    comparison = read_json(finished / "comparison.json")
    assert [row["strategy"] for row in comparison["rows"]] == ["finetune", "replay", "joint"]
    assert {"comparison.png", "curves.png", "forgetting.gif", "report.html"} <= files_in(finished)
    for seed in (0, 1):
        first = {json.dumps(run["R"][0]) for run in comparison["runs"] if run["seed"] == seed}
        assert len(first) == 1, "all strategies begin with the same first task"
    for row in comparison["rows"]:
        runs = [run for run in comparison["runs"] if run["strategy"] == row["strategy"]]
        assert [run["R"] for run in runs] == [
            results_in(finished / f"seed-{seed}" / row["strategy"])["R"] for seed in (0, 1)
        ]
        drops = [run["R"][1][0] - run["R"][0][0] for run in runs]
        assert row["drop"] == pytest.approx(np.mean(drops))
        assert row["drop_std"] == pytest.approx(np.std(drops, ddof=1))
        assert row["final"] == pytest.approx(np.mean([run["R"][1] for run in runs], axis=0))
    assert comparison["rows"][0]["memory_bytes"] == 0


def test_its_page_tells_its_figures_and_how_to_make_it_again(finished: Path) -> None:
    page = html.unescape((finished / "report.html").read_text(encoding="utf-8"))
    for row in read_json(finished / "comparison.json")["rows"]:
        assert row["strategy"] in page
        assert all(f"{value:.2f}" in page for value in row["final"])
    config = read_json(finished / "config.json")
    assert config["command"] in page
    assert all(f"{package} {version}" in page for package, version in config["versions"].items())
    assert page.count("upper bound") > page.count("lower bound") > 0
    # Three strategies; truth, after both tasks and the error of both old test views.
    assert page.count("data:image/png;base64,") == 3 * 2 * 4


def test_the_command_in_its_config_trains_nothing_again_and_prints_the_table(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = read_json(finished / "config.json")["command"].split()
    assert again[:2] == ["nerfcl", "compare"]
    before = times_of_checkpoints(finished)
    assert len(before) == 2 * (1 + 3 * 2)
    assert main(again[1:]) == 0
    printed = capsys.readouterr().out
    for word in ("finetune", "replay", "joint", "right", "left", "change", "seconds", "kept", "±", "comparison.png"):
        assert word in printed
    assert before == times_of_checkpoints(finished)


def test_a_run_of_a_comparison_equals_the_run_by_itself(finished: Path, shared_scene: Path, tmp_path: Path) -> None:
    alone = ["run", *command(shared_scene, tmp_path / "alone", "--seed", "1")[1:]]
    assert main(alone) == 0
    assert_same_outcome(finished / "seed-1/replay", tmp_path / "alone")
    # And the command goes on with the comparison's folder as with its own.
    alone[alone.index("--out") + 1] = str(finished / "seed-1/replay")
    assert main(alone) == 0


def test_averaged_parameters_outlive_the_shared_first_task(shared_scene: Path, tmp_path: Path) -> None:
    compared, alone = tmp_path / "both", tmp_path / "alone"
    assert main(command(shared_scene, compared, "--strategies", "finetune", "replay", "--ema-decay", "0.9")) == 0
    run = ["run", "--data", str(shared_scene), *QUICK, "--strategy", "replay", "--ema-decay", "0.9"]
    assert main([*run, "--out", str(alone)]) == 0
    assert_same_outcome(compared / "seed-0/replay", alone)


def test_it_takes_more_configurations_and_seeds_later(
    shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, start = tmp_path / "out", command(shared_scene, tmp_path / "out")
    assert main([*start, "--strategies", "replay"]) == 0
    before = times_of_checkpoints(out)
    assert main([*start, "--strategies", "finetune", "replay", "--seeds", "2"]) == 0
    assert before.items() <= times_of_checkpoints(out).items()
    runs = read_json(out / "comparison.json")["runs"]
    assert [(run["strategy"], run["seed"]) for run in runs] == [
        ("finetune", 0), ("finetune", 1), ("replay", 0), ("replay", 1),
    ]  # fmt: skip
    described = read_json(out / "config.json")["comparison"]
    assert [configuration["label"] for configuration in described["configurations"]] == ["finetune", "replay"]
    assert described["seeds"] == [0, 1]
    assert main([*start, "--strategies", "replay", "--rays", "65"]) == 2
    assert "differs in rays" in capsys.readouterr().err
    assert main([*start, "--strategies", "replay=replay:memory-rays=9"]) == 2, "another run of the same name"
    assert "differs in memory_rays" in capsys.readouterr().err


def test_configurations_have_labels_and_hyperparameters_of_their_own(
    shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    texts = ["worst first=replay:memory-fill=topk,memory-draw=topk", "all soft=replay:memory-rays=16,soft-replay"]
    assert main(command(shared_scene, out, "--strategies", *texts)) == 0
    printed = capsys.readouterr().out
    assert "worst first" in printed
    assert "all soft" in printed
    assert [row["strategy"] for row in read_json(out / "comparison.json")["rows"]] == ["worst first", "all soft"]
    worst, soft = (results_in(out / "seed-0" / folder) for folder in ("worst-first", "all-soft"))
    for results, rays, each in ((worst, 64, RAY + 2), (soft, 16, RAY)):
        assert rays * each + CAMERA <= results["memory_bytes"] <= rays * each + 6 * CAMERA
    assert worst["R"][0] == soft["R"][0], "both begin with the same first task"
    assert worst["R"][1] != soft["R"][1]
    alone = ["run", *command(shared_scene, tmp_path / "alone", "--strategy", texts[0])[1:]]
    assert main(alone) == 0
    assert_same_outcome(tmp_path / "alone", out / "seed-0/worst-first")
