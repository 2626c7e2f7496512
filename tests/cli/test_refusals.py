"""What commands refuse: in one line that says what to change, before anything is written."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cli.quick import FRAMES, SMALL, TASKS, Refuse
from nerfcl.cli.main import main
from support.folders import files_in
from support.refusals import refused

FIELD = ["--field", "nerf"]


OF_ALL_TRAININGS: list[tuple[list[str], str]] = [
    (["--data", "no/such/scene"], "--data no/such/scene: no such folder"),
    (["--data", "~nobody-of-this-name/scene"], "--data ~nobody-of-this-name/scene"),
    (["--data", "a" * 300], "--data aaa"),
    (["--img-wh", "4", "4"], "--img-wh 4 4: images must be at least"),
    (["--max-side", "4"], "--max-side 4: images must be at least"),
    (["--max-side", "0"], "--max-side 0: images must be at least"),
    (["--pixel-center", "7"], "--pixel-center 7.0: must lie between 0 and 1"),
    (["--pixel-center", "nan"], "--pixel-center nan: must lie"),
    (["--rays", "-1"], "--rays -1: must be a positive multiple of --rays-per-pixel 1"),
    (["--rays", "6", "--rays-per-pixel", "4"], "--rays 6: must be a positive multiple of --rays-per-pixel 4"),
    (["--rays", "1000000000000"], "--rays 1000000000000: more than"),
    (["--rays-per-pixel", "2"], "--rays-per-pixel 2: must be a square number"),
    (["--rays-per-pixel", "10000000000"], "--rays-per-pixel 10000000000: must be at most 1024"),
    (["--img-wh", "1000000", "1000000"], "more than half of this machine's"),
    (["--learning-rate", "nan"], "--learning-rate nan: must be a positive number"),
    (["--learning-rate", "inf"], "--learning-rate inf: must be a positive number"),
    (["--momentum", "-1"], "--momentum -1.0: must not be negative"),
    (["--optimiser", "lion"], "--optimiser lion: must be one of adam"),
    (["--schedule", "linear"], "--schedule linear: must be one of warm-cosine"),
    (["--warmup-multiplier", "0.5"], "--warmup-multiplier 0.5: must be at least 1"),
    (["--average", "1"], "--ema-decay 1.0: must be at least 0 and below 1"),
    (["--max-resolution", "2"], "--max-resolution 2: must lie between 16 and 4096"),
    (["--finest", "5000"], "--max-resolution 5000: must lie between 16 and 4096"),
    (["--width", "0"], "--width 0: must lie between 1 and 1024"),
    (["--field", "voxels"], "--field voxels: is unknown; choose from hashgrid, nerf"),
    ([*FIELD, "--samples", "2"], "--samples 2: must be at least 3"),
    ([*FIELD, "--importance", "-1"], "--importance -1: must not be negative"),
    ([*FIELD, "--chunk", "0"], "--chunk 0: must lie between 1 and 16777216"),
    (["--evaluate-every", "0"], "--evaluate-every 0: must be at least 1"),
    (["--evaluate-views", "0"], "--evaluate-views 0: must be at least 1"),
    (["--frame-every", "-1"], "--frame-every -1: must not be negative"),
    (["--memory-rays", "0"], "--memory-rays 0: must be at least 1"),
    (["--memory-fill", "best"], "--memory-fill best: must be one of random, uniform"),
    (["--memory-fill", "highest", "--soft-replay"], "--soft-replay"),
    (["--memory-draw", "best"], "--memory-draw best: must be one of random"),
    (["--memory-draw", "weighted", "--exploration", "2"], "--exploration 2.0: must lie between 0 and 1"),
    (["--centre-weight", "0.5"], "--centre-weight 0.5: needs"),
    (["--past-share", "1"], "--replay-fraction 1.0: must be at least 0.5 and below 1"),
    (["--device", "abacus"], "--device abacus: must be one of auto, cpu, cuda"),
]
# Commands that take no time, should they not be refused.
RUN = ["run", "--data", "{scene}", *SMALL, "--steps", "1"]
COMPARE = ["compare", "--data", "{scene}", *SMALL, "--steps", "1"]
ONLINE = ["online", "--data", "{scene}", *SMALL, "--steps", "1"]
WATCH = ["online", "--watch", "{camera}", "--img-wh", "16", "16", "--device", "cpu", "--steps", "1"]
COMPARE_ONLINE = ["compare-online", "--data", "{scene}", *SMALL, "--steps", "1"]


@pytest.mark.parametrize("command", [RUN, COMPARE, ONLINE, COMPARE_ONLINE], ids=lambda command: command[0])
@pytest.mark.parametrize(("options", "words"), OF_ALL_TRAININGS)
def test_all_trainings_refuse_the_same(command: list[str], options: list[str], words: str, refuse: Refuse) -> None:
    assert words in refuse([*command, *options])


OF_TASKS: list[tuple[list[str], str]] = [
    (["--tasks", "upside-down"], "'upside-down' is unknown; choose right, left"),
    (["--tasks", "right", "right"], "--tasks right right: names a task twice"),
    (["--tasks", "sectors:0"], "--tasks sectors:0: write sectors:N"),
    (["--tasks", "sectors:many"], "--tasks sectors:many: write sectors:N"),
    (["--tasks", "all", "right"], "--tasks all right: 'all' and 'sectors:N' cannot be combined"),
    (["--tasks", "sectors:2", "sectors:3"], "--tasks sectors:2 sectors:3"),
    (["--tasks", "sectors:200"], "for task 'sector"),
    (["--tasks"], "--tasks"),
    (["--steps", "0"], "--steps 0: must be at least 1"),
    (["--epochs", "0"], "--epochs 0: must be at least 1"),
]
OF_FRAMES: list[tuple[list[str], str]] = [
    (["--order", "zigzag"], "--order zigzag: is neither file, nearest, azimuth"),
    (["--frames", "0"], "--frames 0: must lie between 1 and 6"),
    (["--frames", "7"], "--frames 7: must lie between 1 and 6"),
    (["--chunk-frames", "0"], "--chunk-frames 0: must be at least 1"),
    (["--steps", "0"], "--steps 0: must be at least 1"),
    (["--score-every", "0"], "--test-every 0: must be at least 1"),
    (["--seen-every", "-1"], "--seen-every -1: must not be negative"),
]
OF_RUNS: list[tuple[list[str], str]] = [
    (["--strategy", "magic"], "--strategy magic: is unknown; choose from finetune"),
    (["--strategy", "replay:memory-rays=0"], "--memory-rays 0: must be at least 1"),
    (["--strategy", "agem:memory-rays=many"], "--memory-rays many: must be of type int"),
    (["--strategy", "replay:colour=red"], "has no hyperparameter colour"),
    (["--strategy", "ewc:ewc-lambda=-1"], "ewc-lambda=-1.0: must not be negative"),
    (["--strategy", "distill:renew-every=0"], "snapshot-every=0: must be at least 1"),
    (["--strategy", "replay+", "--update-losses"], "--update-losses"),
    (["--strategy", "replay+", "--memory-bytes", "3"], "--memory-bytes 3: is too small for a single ray"),
    (["--strategy", "replay+:memory-fill=lowest"], "--memory-fill lowest: a snapshot needs rays of every frame"),
    (["--strategy", "replay-images", "--memory-bytes", "0"], "--memory-bytes 0: must be at least 1"),
    # Descriptions of another kind, and such as are none.
    (["--config", "{root}/none/config.json"], "none/config.json: no such file; give the config.json of an"),
    (["--config", "{root}"], "is not a file; replace it by a JSON file"),
    (["--config", "{root}/a file"], "a file: is not valid JSON"),
    (["--config", "{scene}/transforms_train.json"], "transforms_train.json: does not describe an experiment"),
]
OF_COMPARISONS: list[tuple[list[str], str]] = [
    (["--strategies"], "--strategies"),
    (["--strategies", "replay", "replay"], "--strategies replay replay: give "),
    (["--strategies", "all", "replay"], "--strategies all replay: give "),
    (["--strategies", "finetune", "magic"], "magic: is unknown; choose from finetune"),
    (["--strategies", ""], "is unknown; choose from finetune"),
    (["--strategies", "a=replay", "a=replay:memory-fill=reservoir"], "'a' gives two configurations the same folder"),
    (["--strategies", "a b=replay", "a/b=finetune"], "'a/b' gives two configurations the same folder"),
    (["--strategies", "all", "replay=finetune"], "'replay' gives two configurations the same folder"),
    (["--strategies", "finetune", "..=replay"], "'..' is reserved by the comparison"),
    (["--strategies", "finetune", ".=replay"], "'.' is reserved by the comparison"),
    (["--strategies", "finetune", "replay:colour=red"], "has no hyperparameter colour"),
    (["--strategies", "finetune", "replay:memory-rays=many"], "--memory-rays many: must be of type int"),
    (["--strategies", "finetune", "replay:memory-rays=0"], "--memory-rays 0: must be at least 1"),
    (["--seeds"], "--seeds"),
    (["--seeds", "1", "1"], "--seeds 1 1: give at least one, and none twice"),
    (["--seeds", "-1"], "--seeds -1: give the number of seeds"),
    (["--budget-bytes", "64X"], "--budget-bytes 64X: must be a number of bytes"),
    (["--budget-bytes", "64K", "65536"], "--budget-bytes 64K 65536: two are the same"),
    (["--jobs", "0"], "--jobs 0: must be at least 1"),
    (["--config", "{root}/none/config.json"], "none/config.json: no such file"),
]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        *OF_TASKS,
        *OF_RUNS,
        (["--config", "{root}/compare/config.json"], "describes a comparison; use `nerfcl compare`"),
        (["--config", "{root}/online/config.json"], "describes another kind of stream; use `nerfcl online`"),
        (["--config", "{root}/watching/config.json"], "describes another kind of stream; use `nerfcl online`"),
        (["--config", "{root}/compare-online/config.json"], "use `nerfcl compare-online`"),
    ],
)
def test_run_refuses(options: list[str], words: str, refuse: Refuse) -> None:
    assert words in refuse([*RUN, *options])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        *OF_FRAMES,
        *OF_RUNS,
        (["--strategy", "soft-targets"], "--strategy soft-targets: needs to know where tasks end"),
        (["--config", "{root}/run/config.json"], "describes another kind of stream; use `nerfcl run`"),
        (["--config", "{root}/compare/config.json"], "use `nerfcl compare`"),
        (["--config", "{root}/compare-online/config.json"], "use `nerfcl compare-online`"),
    ],
)
def test_online_refuses(options: list[str], words: str, refuse: Refuse) -> None:
    assert words in refuse([*ONLINE, *options])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--watch", "{root}/none"], "/none: no such folder; create it before frames are written to it"),
        (["--watch", "{root}/a file"], "/a file: no such folder"),
        (["--field", "nerf"], "--field nerf: does not work on a watched folder"),
        (["--strategy", "magic"], "--strategy magic"),
        (["--strategy", "soft-targets"], "--strategy soft-targets: needs to know where tasks end"),
        (["--chunk-frames", "0"], "--chunk-frames 0: must be at least 1"),
        (["--steps", "0"], "--steps 0: must be at least 1"),
        (["--max-resolution", "2"], "--max-resolution 2"),
        (["--box", "0", "0", "0", "0"], "--box 0.0 0.0 0.0 0.0: the edge length (last number) must be positive"),
        (["--img-wh", "0", "0"], "--img-wh 0 0"),
        (["--max-side", "0"], "--max-side 0: images must be at least"),
        (["--device", "abacus"], "--device abacus"),
        # These end with a stream, and this one has no end.
        (["--schedule", "cosine"], "--schedule"),
        (["--schedule", "poly"], "--schedule"),
    ],
)
def test_watching_refuses(options: list[str], words: str, refuse: Refuse) -> None:
    assert words in refuse([*WATCH, *options])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        *OF_TASKS,
        *OF_COMPARISONS,
        (["--strategies", "finetune", "first-task=replay:memory-rays=9"], "'first-task' is reserved by the comparison"),
        (["--config", "{root}/online/config.json"], "use `nerfcl compare-online`"),
        (["--config", "{root}/compare-online/config.json"], "use `nerfcl compare-online`"),
    ],
)
def test_compare_refuses(options: list[str], words: str, refuse: Refuse) -> None:
    assert words in refuse([*COMPARE, *options])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        *OF_FRAMES,
        *OF_COMPARISONS,
        (["--strategies", "finetune", "soft-targets"], "soft-targets: needs to know where tasks end"),
        (["--config", "{root}/run/config.json"], "use `nerfcl compare`"),
        (["--config", "{root}/compare/config.json"], "use `nerfcl compare`"),
    ],
)
def test_compare_online_refuses(options: list[str], words: str, refuse: Refuse) -> None:
    assert words in refuse([*COMPARE_ONLINE, *options])


def test_compare_online_refuses_a_watched_folder(refuse: Refuse) -> None:
    assert "has no scene" in refuse(["compare-online", "--config", "{root}/watching/config.json"])


@pytest.mark.parametrize("command", ["compare", "compare-online"])
def test_budgets_that_nothing_fits_into_are_refused(
    command: str, shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--strategies", "replay", "agem", "--budget-bytes", "20"]
    assert main([command, "--data", str(shared_scene), *SMALL, *options, "--out", str(tmp_path / "out")]) == 2
    left_out = [f"{name}: nothing useful fits into 20; left out" for name in ("replay", "agem")]
    refusal = "nerfcl: --budget-bytes 20: is too small for every strategy; give larger budgets"
    assert capsys.readouterr().err.splitlines() == [*left_out, refusal]
    assert not (tmp_path / "out").exists()


# Descriptions that are broken


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not valid JSON"),
        ("[]", "does not describe an experiment"),
        ('{"command": "nerfcl run"}', "does not describe an experiment"),
        ({"schema": 3}, "is not a complete description"),
        ({"schema": 2, "experiment": {}}, "has schema 2, but this version of nerfcl reads 3"),
        ({"schema": 3, "experiment": None}, ""),
        ({"schema": 3, "experiment": []}, ""),
        ({"schema": 3, "experiment": {"steps": 5}}, "steps"),
        ({"schema": 3, "experiment": {"training": {"steps": "many"}}}, "training.steps"),
        ({"schema": 3, "experiment": {"training": {"steps": 0}}}, "--steps 0: must be at least 1"),
        ({"schema": 3, "experiment": {"seed": 1.5}}, "seed"),
        ({"schema": 3, "experiment": {"device": "abacus"}}, "--device abacus: must be one of"),
        ({"schema": 3, "experiment": {"scene": {"size": [16]}}}, "scene.size"),
        ({"schema": 3, "experiment": {"strategy": {}}}, "with a 'kind'"),
        ({"schema": 3, "experiment": {"strategy": {"kind": "magic"}}}, "--strategy magic: is unknown"),
        ({"schema": 3, "experiment": {"field": {"kind": "nerf", "samples": 1}}}, "--samples 1: must be at least 3"),
        ({"schema": 3, "experiment": {"field": {"kind": "nerf", "width": 16}}}, "width"),
        # Of version 0.1.
        ({"settings": 5}, ""),
        ({"settings": []}, ""),
        ({"settings": {"data": "builtin", "strategy": "magic"}}, "--strategy magic: is unknown"),
        ({"settings": {"data": "builtin", "steps": "many"}}, "--steps many: must be of type int"),
        ({"settings": {"data": 5}}, ""),
        # What `nerfcl make-scene` writes.
        ({"settings": {"trajectory": "spiral", "frames": 50, "img_wh": [16, 12], "seed": 0}, "versions": {}}, ""),
    ],
)
def test_broken_descriptions_are_refused(content: Any, words: str, tmp_path: Path, refuse: Refuse) -> None:
    path = tmp_path / "broken.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    line = refuse(["run", "--config", str(path), *SMALL, "--steps", "1", "--rays", "16"])
    assert str(path) in line
    assert words in line


# Folders and files


A_RUN = [*TASKS, "--steps", "1", "--memory-rays", "9"]
A_STREAM = [*FRAMES, "--chunk-frames", "6"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, shared_scene: Path) -> Path:
    """A folder with what two commands left, and other things."""
    root = tmp_path_factory.mktemp("finished")
    (root / "thesis.txt").write_text("mine")
    assert main(["run", "--data", str(shared_scene), *A_RUN, "--out", str(root / "run")]) == 0
    assert main(["online", "--data", str(shared_scene), *A_STREAM, "--out", str(root / "online")]) == 0
    return root


@pytest.mark.parametrize(
    ("arguments", "out", "words"),
    [
        (["run", *A_RUN, "--seed", "7"], "run", "holds another run (it differs in seed)"),
        (["run", *TASKS, "--steps", "1", "--strategy", "finetune"], "run", "(it differs in strategy)"),
        (["online", *A_STREAM, "--order", "file"], "online", "(it differs in order)"),
        (["compare", *TASKS, "--strategies", "finetune"], "run", "holds another run"),
        (["run", *A_RUN], ".", "exists but is not a run's folder"),
        (["compare-online", *FRAMES, "--strategies", "finetune"], ".", "exists but is not a run's folder"),
        (["run", *A_RUN], "thesis.txt", "thesis.txt: exists but is not a run's folder"),
        (["run", *A_RUN], "a" * 300, "cannot be used"),
        (["compare", *TASKS, "--strategies", "finetune"], "a" * 300, "cannot be used"),
    ],
)
def test_folders_of_something_else_are_left_alone(
    arguments: list[str],
    out: str,
    words: str,
    finished: Path,
    shared_scene: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {name: (finished / name).read_bytes() for name in files_in(finished)}
    line = refused(main, [*arguments, "--data", str(shared_scene), "--out", str(finished / out)], capsys)
    assert "--out" in line
    assert words in line
    assert before == {name: (finished / name).read_bytes() for name in files_in(finished)}


def test_a_damaged_scene_is_refused(shared_scene: Path, tmp_path: Path, refuse: Refuse) -> None:
    scene = tmp_path / "scene"
    shutil.copytree(shared_scene, scene)
    image = sorted((scene / "test").glob("*.png"))[-1]
    image.write_bytes(image.read_bytes()[:60])
    assert image.name in refuse([*RUN, "--data", str(scene)])


@pytest.mark.parametrize(
    "damage", ["missing", "text", "truncated", "another tensor file", "a pickle with code", "a folder"]
)
def test_eval_refuses_what_is_no_checkpoint(damage: str, finished: Path, tmp_path: Path, refuse: Refuse) -> None:
    path = tmp_path / "thing.pt"
    whole = (finished / "run/checkpoints/task-2.pt").read_bytes()
    if damage == "text":
        path.write_text("root:x:0:0:root:/root:/bin/bash\n")
    elif damage == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "another tensor file":
        torch.save({"weights": torch.zeros(3)}, path)
    elif damage == "a pickle with code":
        torch.save({"format": "nerfcl checkpoint 4", "model": math.sqrt}, path)
    elif damage == "a folder":
        path.mkdir()
    assert str(path) in refuse(["eval", str(path), "--data", "{scene}"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--split", "holiday"], "--split holiday: must be one of train, val, test"),
        (["--view", "upwards"], "sector 1/10"),
        (["--view", "sector 12/36"], "--view sector 12/36: "),
        (["--rays-per-pixel", "0"], "--rays-per-pixel 0"),
        (["--rays-per-pixel", "3"], "--rays-per-pixel 3: must be a square number"),
        (["--img-wh", "4", "4"], "--img-wh 4 4: images must be at least"),
        (["--max-side", "0"], "--max-side 0: images must be at least"),
        (["--data", "no/such/scene"], "--data no/such/scene: no such folder"),
        (["--device", "abacus"], "--device abacus: must be one of"),
    ],
)
def test_eval_refuses(options: list[str], words: str, finished: Path, refuse: Refuse) -> None:
    assert words in refuse(["eval", str(finished / "run/checkpoints/task-2.pt"), *options])


# Scenes that are made


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--trajectory", "circle"], "--trajectory circle: must be spiral or hemisphere"),
        (["--frames", "49"], "--frames 49: must be at least 50, 5 for each chunk"),
        (["--trajectory", "hemisphere", "--frames", "4"], "--frames 4: must be at least 5"),
        (["--chunks", "0"], "--chunks 0: must be at least 1"),
        (["--samples", "0"], "--samples 0: must lie between 1 and"),
        (["--seed", "-1"], "--seed -1: must lie between 0 and"),
        (["--jobs", "-1"], "--jobs -1: must not be negative"),
        (["--img-wh", "64", "4"], "--img-wh 64 4: images must be"),
        (["--img-wh", "64", "100000"], "--img-wh 64 100000: images must be"),
    ],
)
def test_make_scene_refuses(options: list[str], words: str, refuse: Refuse) -> None:
    assert words in refuse(["make-scene", *options])


@pytest.mark.parametrize(("folder", "words"), [(".", "exists but is not"), ("run", "another")])
def test_make_scene_refuses_folders_of_something_else(
    folder: str, words: str, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nerfcl.experiments.make_scene.mitsuba_version", lambda: "0")
    before = files_in(finished)
    line = refused(main, ["make-scene", "--out", str(finished / folder)], capsys)
    assert f"--out {finished / folder}: " in line
    assert words in line
    assert files_in(finished) == before


def test_make_scene_says_what_to_install_without_mitsuba(monkeypatch: pytest.MonkeyPatch, refuse: Refuse) -> None:
    monkeypatch.setitem(sys.modules, "mitsuba", None)  # importing it fails
    assert "pip install 'nerfcl[render]'" in refuse(["make-scene"])
