"""Which run a folder holds: of the same data, strategy and seed, or nothing is believed that it holds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cli.quick import FRAMES, TASKS
from nerfcl.cli.main import main
from support.folders import assert_same_run, read_json, results_in
from support.refusals import refused
from support.scenes import write_tiny_scene

ROWS = ["finetune", "replay:memory-rays=64"]


def run(scene: Path | str, out: Path, *more: str) -> list[str]:
    return ["run", "--data", str(scene), *TASKS, "--memory-rays", "64", "--out", str(out), *more]


def compare(scene: Path, out: Path, *more: str) -> list[str]:
    return ["compare", "--data", str(scene), *TASKS, "--strategies", *ROWS, "--out", str(out), *more]


def online(scene: Path, out: Path, *more: str) -> list[str]:
    return ["online", "--data", str(scene), *FRAMES, "--memory-rays", "99", "--out", str(out), *more]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_scene(tmp_path_factory.mktemp("scene") / "tiny")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, scene: Path) -> dict[str, Path]:
    """Finished folders of three commands."""
    root = tmp_path_factory.mktemp("finished")
    for command in (run, compare, online):
        assert main(command(scene, root / command.__name__)) == 0
    return {"run": root / "run", "compare": root / "compare", "online": root / "online", "root": root}


COMMANDS: dict[str, Callable[..., list[str]]] = {"run": run, "compare": compare, "online": online}


# --- the same data ---


@contextmanager
def restored(scene: Path, copy: Path) -> Iterator[None]:
    """Let a scene be changed, and undo it."""
    shutil.copytree(scene, copy)
    try:
        yield
    finally:
        shutil.rmtree(scene)
        shutil.copytree(copy, scene)


def invert(path: Path) -> None:
    image = np.asarray(Image.open(path)).copy()
    image[..., :3] = 255 - image[..., :3]
    Image.fromarray(image).save(path)


def edit(scene: Path, split: str, change: Callable[[dict[str, Any]], Any]) -> None:
    path = scene / f"transforms_{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


CHANGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "an image inverted": (lambda scene: invert(scene / "train/r_3.png"), "train images"),
    "a test image inverted": (lambda scene: invert(scene / "test/r_1.png"), "test images"),
    "two poses exchanged": (
        lambda scene: edit(
            scene,
            "train",
            lambda d: [
                frame.update(transform_matrix=matrix)
                for frame, matrix in zip(
                    d["frames"][:2], [f["transform_matrix"] for f in d["frames"][1::-1]], strict=True
                )
            ],
        ),
        "train poses",
    ),
    "another angle": (lambda scene: edit(scene, "test", lambda d: d.update(camera_angle_x=0.71)), "test intrinsics"),
    "fewer test views": (lambda scene: edit(scene, "test", lambda d: d["frames"].pop()), "3 test views instead of 4"),
    "more test views": (
        lambda scene: edit(scene, "test", lambda d: d["frames"].append(d["frames"][0])),
        "5 test views instead of 4",
    ),
    "fewer train views": (lambda scene: edit(scene, "train", lambda d: d["frames"].pop(0)), "5 train views instead of"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("what", CHANGES)
def test_changed_data_is_refused_and_what_changed_is_said(
    command: str, what: str, scene: Path, finished: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in finished[command].rglob("*.*") if path.is_file()}
    change, words = CHANGES[what]
    with restored(scene, tmp_path / "kept"):
        change(scene)
        line = refused(main, COMMANDS[command](scene, finished[command]), capsys)
    assert "--data: has changed since" in line
    assert words in line
    assert before == {path: path.read_bytes() for path in finished[command].rglob("*.*") if path.is_file()}


def test_the_same_relative_path_in_another_folder_is_another_scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("one", "two"):
        write_tiny_scene(tmp_path / place / "tiny")
    invert(tmp_path / "two/tiny/test/r_0.png")
    monkeypatch.chdir(tmp_path / "one")
    assert main(run("tiny", tmp_path / "out")) == 0
    assert main(run("tiny", tmp_path / "out")) == 0
    monkeypatch.chdir(tmp_path / "two")
    assert "--data: has changed since" in refused(main, run("tiny", tmp_path / "out"), capsys)


def test_a_digest_stands_in_description_results_and_checkpoint(finished: dict[str, Path]) -> None:
    from nerfcl.training.checkpoints import load_checkpoint

    out = finished["run"]
    digests = [read_json(out / "config.json")["data"], results_in(out)["data"]]
    digests.append(load_checkpoint(out / "checkpoints/task-2.pt").data)
    assert digests[0] == digests[1] == digests[2]
    assert {split: part["views"] for split, part in digests[0].items()} == {"train": 6, "val": 4, "test": 4}


def test_changed_data_is_evaluated_only_on_request(
    finished: dict[str, Path], scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(finished["run"] / "checkpoints/task-2.pt")
    with restored(scene, tmp_path / "kept"):
        invert(scene / "test/r_1.png")
        line = refused(main, ["eval", checkpoint, "--out", str(tmp_path / "out")], capsys, out=tmp_path / "out")
        assert "has changed since" in line
        assert "test images" in line
        assert line.endswith("or give --data to evaluate with it nevertheless")
        assert main(["eval", checkpoint, "--data", str(scene), "--out", str(tmp_path / "out")]) == 0


# --- the same experiment ---


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--seed", "1"], "it differs in --seed"),
        (["--learning-rate", "0.01"], "it differs in --learning-rate"),
        (["--strategy", "finetune"], "it differs in --strategy"),
        (["--steps", "13"], "it differs in --steps"),
    ],
)
def test_a_checkpoint_of_another_run_laid_into_the_folder_is_refused(
    more: list[str],
    words: str,
    finished: dict[str, Path],
    scene: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    shutil.copytree(finished["run"], out)
    arguments = run(scene, other, *more)
    if "finetune" in more:
        at = arguments.index("--memory-rays")
        del arguments[at : at + 2]
    assert main(arguments) == 0
    shutil.copy(other / "checkpoints/task-2.pt", out / "checkpoints/task-2.pt")
    line = refused(main, run(scene, out), capsys)
    assert "task-2.pt: was written by another run" in line
    assert words.replace("--", "").replace("-", "_") in line.replace("--", "").replace("-", "_")


@pytest.mark.parametrize(("of", "into"), [("online", "run"), ("run", "online"), ("compare", "run")])
def test_a_checkpoint_of_another_command_is_refused(
    of: str, into: str, finished: dict[str, Path], scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished[into], tmp_path / "out")
    taken = {"online": "checkpoints/latest.pt", "run": "checkpoints/task-2.pt"}
    source = finished[of] / taken.get(of, "seed-0/finetune/checkpoints/task-2.pt")
    shutil.copy(source, out / taken[into])
    line = refused(main, COMMANDS[into](scene, out), capsys)
    assert f"{out / taken[into]}: was written by another run" in line


def test_results_of_another_row_are_not_believed(
    finished: dict[str, Path], scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished["compare"], tmp_path / "out")
    shutil.copy(out / "seed-0/finetune/results.json", out / "seed-0/replay-memory-rays-64/results.json")
    line = refused(main, compare(scene, out), capsys)
    assert "/results.json: holds the results of another run" in line


# --- damage ---


@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(
    command: str, finished: dict[str, Path], scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished[command], tmp_path / "out")
    folder = out / "seed-0/replay-memory-rays-64" if command == "compare" else out
    name, before = ("latest", "latest-previous") if command == "online" else ("task-2", "task-1")
    latest = folder / f"checkpoints/{name}.pt"
    content = bytearray(latest.read_bytes())
    content[len(content) // 2] ^= 16
    latest.write_bytes(content)
    (folder / "results.json").unlink()
    assert main(COMMANDS[command](scene, out)) == 0
    printed = capsys.readouterr().err
    assert f"{name}.pt: is damaged" in printed
    assert f"nerfcl: resuming from {folder / 'checkpoints' / before}.pt" in printed
    latest.with_stem(f"{name}-damaged").unlink()
    assert_same_run(out, finished[command])


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "{}", '{"schema": 1}', '{"schema": 99}', "[" * 10**5, "\ud800"]
)
@pytest.mark.parametrize(
    ("command", "file"),
    [(name, "config.json") for name in COMMANDS] + [("compare", "seed-0/replay-memory-rays-64/results.json")],
)
def test_a_damaged_description_or_result_is_refused_in_one_line(
    command: str,
    file: str,
    content: str,
    finished: dict[str, Path],
    scene: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = shutil.copytree(finished[command], tmp_path / "out")
    (out / file).write_bytes(content.encode(errors="surrogatepass"))
    assert str(out / file) in refused(main, COMMANDS[command](scene, out), capsys)


def test_results_of_a_run_are_written_again(finished: dict[str, Path], scene: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished["run"], tmp_path / "out")
    (out / "results.json").write_text("{")
    assert main(run(scene, out)) == 0
    assert_same_run(out, finished["run"])
