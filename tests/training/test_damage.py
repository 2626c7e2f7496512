"""Checkpoints that are damaged, incomplete or made up: none loads, and a run goes on from the one before."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfcl.errors import NerfclError
from nerfcl.models.fields.hash_grid import HashGridSettings
from nerfcl.models.settings import model_settings
from nerfcl.scenes.scene import Scene
from nerfcl.streams.stream import Stream
from nerfcl.training.archives import read_tensors
from nerfcl.training.checkpoints import (
    Checkpoint,
    evaluated_model,
    load_checkpoint,
    load_newest,
    previous_of,
    resume,
    save_checkpoint,
)
from nerfcl.training.loop import learn
from support.learning import same
from training.small import ON_CHUNKS, MakeLearner

REPLAYING = "replay-images:memory-bytes=1500"

Content = dict[str, Any]


@pytest.fixture(scope="module")
def saved(scene: Scene, chunks: Stream, learner_of: MakeLearner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with an optimiser, a moving average and a memory."""
    path, learner = tmp_path_factory.mktemp("saved") / "latest.pt", learner_of(REPLAYING)
    learn(chunks, learner, ON_CHUNKS, until=2)
    save_checkpoint(path, learner, {}, model_settings(scene, HashGridSettings(max_resolution=16)))
    return path


def parts_of(checkpoint: Checkpoint) -> list[Any]:
    return [getattr(checkpoint, name) for name in ("model", "optimiser", "ema", "strategy_state")]


def test_a_flipped_bit_is_noticed_wherever_it_changes_content(saved: Path, tmp_path: Path) -> None:
    content, damaged, chance = saved.read_bytes(), tmp_path / "latest.pt", random.Random(5)
    whole = parts_of(load_checkpoint(saved))
    errors: list[str] = []
    for _ in range(150):
        flipped = bytearray(content)
        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        damaged.write_bytes(flipped)
        try:
            assert same(parts_of(load_checkpoint(damaged)), whole), "it loads, so nothing that it holds has changed"
        except NerfclError as error:
            errors.append(str(error))
    assert len(errors) > 100
    assert all(error.startswith(f"{damaged}: ") and "\n" not in error for error in errors)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_refused(kept: float, saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    (tmp_path / "a.pt").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(NerfclError, match=r"a\.pt: is damaged, or is not a nerfcl checkpoint"):
        load_checkpoint(tmp_path / "a.pt")


def edited(saved: Path, path: Path, change: Callable[[Content], object]) -> Path:
    """Write a checkpoint with other content, and with checksums that fit."""
    content = torch.load(saved, weights_only=True)
    change(content)
    torch.save(content, path)
    return path


def a_tensor(content: Content, part: str) -> torch.Tensor:
    values = content[part]
    while not isinstance(values, torch.Tensor):
        values = next(value for value in (values.values() if isinstance(values, dict) else values) if is_full(value))
    return values


def is_full(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.is_floating_point() and value.numel() > 0
    return any(map(is_full, value.values() if isinstance(value, dict) else value if isinstance(value, list) else []))


@pytest.mark.parametrize("part", ["model", "optimiser", "ema", "strategy_state"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(part: str, value: float, saved: Path, tmp_path: Path) -> None:
    path = edited(saved, tmp_path / "a.pt", lambda content: a_tensor(content, part).view(-1)[:1].fill_(value))
    with pytest.raises(NerfclError, match=rf"a\.pt: .*'{part}' has values that are not finite"):
        load_checkpoint(path)


NAMES = "experiment extra model_settings model strategy_state history done at epochs optimiser ema sampler generator"


@pytest.mark.parametrize("name", [*NAMES.split(), "format"])
def test_missing_parts_and_parts_of_another_kind_are_refused(name: str, saved: Path, tmp_path: Path) -> None:
    changes: list[Callable[[Content], object]] = [lambda content: content.update({name: "text"})]
    if name != "extra":  # only some have it
        changes.append(lambda content: content.pop(name))
    for change in changes:
        path = edited(saved, tmp_path / "a.pt", change)
        with pytest.raises(NerfclError, match=r"^[^\n]*a\.pt: [^\n]*$"):
            load_checkpoint(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(done=-1),
        lambda content: content.update(more=1),
        lambda content: content["history"].pop("R"),
        lambda content: content["history"].update(more=1),
        lambda content: content["history"].update(steps="many"),
        lambda content: content["history"].update(steps=10**400),
        lambda content: content["history"]["R"][0].append(10**400),
        lambda content: content["history"].update(training=float("nan")),
        lambda content: content["history"].update(frames=[(0.5, torch.zeros(3, 3))]),
        lambda content: content["history"]["psnr"].pop(),
        lambda content: content["history"]["R"][0].pop(),
        lambda content: content["history"]["tested"].append(9),
        lambda content: content["model_settings"].update(kind="huge"),
        lambda content: content["model_settings"]["field"].update(log2_table_size=60),
        lambda content: content["model_settings"]["field"].update(levels=2**40),
        lambda content: content["model_settings"]["field"].update(width=-3),
        lambda content: content["model_settings"]["field"].update(max_resolution="fine"),
    ],
)
def test_parts_that_make_no_sense_are_refused(change: Callable[[Content], object], saved: Path, tmp_path: Path) -> None:
    with pytest.raises(NerfclError, match=r"^[^\n]*a\.pt: [^\n]*$"):
        load_checkpoint(edited(saved, tmp_path / "a.pt", change))


@pytest.mark.parametrize("kind", ["model", "ema"])
def test_weights_of_another_model_are_refused(kind: str, saved: Path, tmp_path: Path) -> None:
    def shrink(content: Content) -> None:
        values = content[kind] if kind == "model" else content[kind]["values"]
        for key in list(values) if isinstance(values, dict) else range(len(values)):
            if isinstance(values[key], torch.Tensor) and values[key].dim():
                values[key] = values[key][:1].clone()

    checkpoint = load_checkpoint(edited(saved, tmp_path / "a.pt", shrink))
    with pytest.raises(NerfclError, match="parts do not fit together"):
        evaluated_model(checkpoint)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["model"]["_extra_state"].update(bounds=(0.0, 1.0)),
        lambda content: content["model"]["_extra_state"].update(bounds=((0.0, 0.0), (1.0, 1.0))),
        lambda content: content["model"]["_extra_state"].update(bounds=((0.0,) * 3, (float("inf"),) * 3)),
        lambda content: content["model"]["_extra_state"].update(age=-1),
        lambda content: content["model"]["_extra_state"].update(occ_threshold="low"),
        lambda content: content["model"]["_extra_state"].pop("age"),
        lambda content: content["model_settings"]["field"].update(max_resolution=None),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(
    change: Callable[[Content], object], saved: Path, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(edited(saved, tmp_path / "a.pt", change))
    with pytest.raises(NerfclError, match=r"parts do not fit together|max_resolution=None: must"):
        evaluated_model(checkpoint)


def memory(content: Content) -> Content:
    return content["strategy_state"]["memory"] if "memory" in content["strategy_state"] else content["strategy_state"]


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: kept["frames"].fill_(99),
        lambda kept: kept["frames"].fill_(-1),
        lambda kept: kept["lengths"].pop(),
        lambda kept: kept["files"].zero_(),
        lambda kept: kept.update(corners=kept["corners"][:1].clone()),
        lambda kept: kept.update(poses=kept["poses"][:, :2].clone()),
        lambda kept: kept["sampler"].update(at=10**9),
        lambda kept: kept["sampler"].update(total=0, at=0),
        lambda kept: kept.pop("keys"),
        lambda kept: kept.update(generator=torch.zeros(3, dtype=torch.uint8)),
    ],
)
def test_a_memory_whose_parts_do_not_fit_is_refused(
    change: Callable[[Content], object], saved: Path, tmp_path: Path, learner_of: MakeLearner
) -> None:
    checkpoint = load_checkpoint(edited(saved, tmp_path / "a.pt", lambda content: change(memory(content))))
    with pytest.raises(NerfclError, match=r"^the checkpoint does not match what this run trains [^\n]*$"):
        resume(learner_of(REPLAYING), checkpoint, ON_CHUNKS.optimiser)


# --- what reading costs ---


def test_a_tensor_larger_than_the_file_is_refused(tmp_path: Path) -> None:
    torch.save({"huge": torch.zeros(1).expand(2**40)}, tmp_path / "a.pt")
    with pytest.raises(NerfclError, match=r"a\.pt: is damaged, or is not a checkpoint"):
        read_tensors(tmp_path / "a.pt", "a checkpoint")


def test_a_compressed_archive_is_refused(saved: Path, tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(saved) as whole,
        zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as compressed,
    ):
        for part in whole.namelist():
            compressed.writestr(part, whole.read(part))
    with pytest.raises(NerfclError, match=r"a\.pt: is damaged"):
        load_checkpoint(tmp_path / "a.pt")


def test_a_list_within_itself_ends(tmp_path: Path) -> None:
    endless: list[Any] = [torch.ones(2)]
    endless.append(endless)
    torch.save({"format": endless}, tmp_path / "a.pt")
    with pytest.raises(NerfclError, match=r"a\.pt: is not a nerfcl checkpoint"):
        load_checkpoint(tmp_path / "a.pt")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"format": Hostile()}, tmp_path / "a.pt")
    with pytest.raises(NerfclError, match=r"a\.pt: is damaged, or is not"):
        load_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists()


# --- the checkpoint before ---


@pytest.mark.parametrize("damaged", [0, 1, 2])
def test_the_newest_intact_one_is_loaded_and_said(
    damaged: int, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / f"task-{number}.pt" for number in (3, 2, 1)]
    for number, path in enumerate(paths):
        path.write_bytes(b"damaged" if number < damaged else saved.read_bytes())
    found = load_newest([tmp_path / "task-4.pt", *paths])
    assert found is not None
    assert found[1] == paths[damaged]
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == (damaged + 1 if damaged else 0)
    assert all(f"{path}: is damaged" in line for path, line in zip(paths, printed[:-1], strict=False))
    assert sorted(path.name for path in tmp_path.glob("*-damaged.pt")) == [
        f"task-{number}-damaged.pt" for number in sorted((3, 2, 1)[:damaged])
    ]
    assert not damaged or printed[-1] == f"nerfcl: resuming from {paths[damaged]}"


def test_without_an_intact_one_there_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.pt").write_bytes(b"damaged")
    assert load_newest([tmp_path / "a.pt"]) is None
    assert capsys.readouterr().err.splitlines()[-1] == "nerfcl: no earlier checkpoint is intact; starting over"
    assert load_newest([tmp_path / "none.pt"]) is None
    assert capsys.readouterr().err == ""


def test_the_file_before_is_kept_only_on_request(
    saved: Path, scene: Scene, learner_of: MakeLearner, tmp_path: Path
) -> None:
    path, model = tmp_path / "latest.pt", model_settings(scene, HashGridSettings(max_resolution=16))
    for number in range(3):
        learner = learner_of("finetune")
        learner.done = number
        save_checkpoint(path, learner, {}, model, keep_previous=True)
    assert [load_checkpoint(file).done for file in (path, previous_of(path))] == [2, 1]
    save_checkpoint(path, learner_of("finetune"), {}, model)
    assert [load_checkpoint(file).done for file in (path, previous_of(path))] == [0, 1]


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "a.pt").mkdir()
    with pytest.raises(NerfclError, match=r"a\.pt: is not a file"):
        load_checkpoint(tmp_path / "a.pt")
