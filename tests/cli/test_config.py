"""`--config`: what a run or a comparison was, is run again, changed by hand or by options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.quick import CAMERA, FRAMES, GRID, RAY, SMALL, TASKS
from nerfcl.cli.main import main
from support.folders import assert_same_run, files_in, read_json, results_in, without_time

KEPT = ["--memory-rays", "64"]
STRATEGIES = ["--strategies", "finetune", "few=replay:memory-rays=9", "replay", "--budget-bytes", "3K"]
COMMANDS: dict[str, list[str]] = {
    "run": [*TASKS, *KEPT, "--strategy", "worst first=replay:memory-fill=topk", "--seed", "3", "--soft-targets"],
    "compare": [*GRID, "--steps", "3", "--rays", "64", *STRATEGIES, "--seeds", "2", "4"],
    "online": [*FRAMES, *KEPT, "--strategy", "replay:memory-fill=highest", "--order", "azimuth", "--frames", "5"],
    "compare-online": [*FRAMES, *STRATEGIES, "--chunk-frames", "4"],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, shared_scene: Path) -> dict[str, Path]:
    """What each command left in a folder."""
    folders = {}
    for command, options in COMMANDS.items():
        folders[command] = tmp_path_factory.mktemp("config") / command
        arguments = [command, "--data", str(shared_scene), *options]
        assert main([*arguments, "--out", str(folders[command])]) == 0
    return folders


def edited(folder: Path, into: Path, change: Any) -> Path:
    """A copy of a folder's description, changed."""
    content = read_json(folder / "config.json")
    change(content)
    into.write_text(json.dumps(content))
    return into


@pytest.mark.parametrize("command", COMMANDS)
def test_it_runs_again_to_identical_results(command: str, finished: dict[str, Path], tmp_path: Path) -> None:
    before, again = finished[command], tmp_path / "again"
    assert main([command, "--config", str(before / "config.json"), "--out", str(again)]) == 0
    assert_same_run(again, before)
    for name in ("experiment", "comparison", "label", "schema"):
        assert read_json(again / "config.json").get(name) == read_json(before / "config.json").get(name)
    if "comparison.json" in files_in(before):
        one, other = (read_json(folder / "comparison.json") for folder in (again, before))
        for key in ("rows", "runs"):
            assert [*map(without_time, one[key])] == [*map(without_time, other[key])]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_folder_itself_goes_on(command: str, finished: dict[str, Path]) -> None:
    folder = finished[command]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.pt")}
    assert main([command, "--config", str(folder / "config.json"), "--out", str(folder)]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.pt")}, "nothing is trained twice"
    # And so does the command that is written down now.
    assert main(read_json(folder / "config.json")["command"].split()[1:]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.pt")}


def test_values_that_were_edited_hold(finished: dict[str, Path], shared_scene: Path, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        experiment = content["experiment"]
        experiment["training"]["steps"] = 2
        experiment["strategy"]["memory"] = {"rays": 16}  # the others have their defaults
        experiment["stream"]["tasks"] = ["left", "right"]
        del experiment["strategy"]["soft_targets"]
        content["label"] = "few"

    path = edited(finished["run"], tmp_path / "edited.json", change)
    assert main(["run", "--config", str(path), "--out", str(tmp_path / "edited")]) == 0
    options = [*TASKS, "--steps", "2", "--memory-rays", "16", "--tasks", "left", "right", "--seed", "3"]
    told = ["run", "--data", str(shared_scene), *options, "--strategy", "few=replay", "--out", str(tmp_path / "told")]
    assert main(told) == 0
    assert_same_run(tmp_path / "edited", tmp_path / "told")
    assert results_in(tmp_path / "edited")["tasks"] == ["left", "right"]
    assert results_in(tmp_path / "edited")["memory_bytes"] < 16 * RAY + 6 * CAMERA + 1


def test_options_beside_it_override_it(finished: dict[str, Path], shared_scene: Path, tmp_path: Path) -> None:
    config = ["--config", str(finished["online"] / "config.json")]
    changed = ["--chunk-frames", "3", "--memory-rays", "32", "--seed", "7"]
    assert main(["online", *config, *changed, "--out", str(tmp_path / "changed")]) == 0
    told = ["online", "--data", str(shared_scene), *COMMANDS["online"], *changed, "--out", str(tmp_path / "told")]
    assert main(told) == 0
    assert_same_run(tmp_path / "changed", tmp_path / "told")
    assert results_in(tmp_path / "changed")["tasks"] == ["chunk 1/2", "chunk 2/2"]


def test_a_switch_can_be_turned_off_beside_it(finished: dict[str, Path], tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["experiment"]["strategy"]["memory"]["soft_replay"] = True

    path = edited(finished["run"], tmp_path / "soft.json", change)
    assert main(["run", "--config", str(path), "--no-soft-replay", "--out", str(tmp_path / "hard")]) == 0
    assert not read_json(tmp_path / "hard/config.json")["experiment"]["strategy"]["memory"]["soft_replay"]
    assert results_in(tmp_path / "hard")["R"] == results_in(finished["run"])["R"]
    assert main(["run", "--config", str(path), "--out", str(tmp_path / "soft")]) == 0
    assert results_in(tmp_path / "soft")["R"] != results_in(finished["run"])["R"]


def test_a_run_is_compared_with_others(finished: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--strategies", "finetune", "again=replay:memory-fill=topk,soft-targets", *KEPT, "--seeds", "3", "4"]
    config = str(finished["run"] / "config.json")
    assert main(["compare", "--config", config, *options, "--out", str(out)]) == 0
    assert results_in(out / "seed-3/again")["R"] == results_in(finished["run"])["R"]


def test_the_reference_network_runs_again(shared_scene: Path, tmp_path: Path) -> None:
    options = [*SMALL, "--field", "nerf", "--samples", "6", "--importance", "0", "--rays", "32", "--steps", "3"]
    options += ["--learning-rate", "0.001", "--use-disp"]
    assert main(["run", "--data", str(shared_scene), *options, "--out", str(tmp_path / "out")]) == 0
    config = str(tmp_path / "out/config.json")
    assert main(["run", "--config", config, "--out", str(tmp_path / "again")]) == 0
    assert_same_run(tmp_path / "again", tmp_path / "out")
