"""Configurations within budgets of bytes, and that what is kept stays within them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cli.quick import CAMERA, GRID, RAY
from nerfcl.cli.main import main
from nerfcl.config.configurations import Configuration, ConfigurationText, parse_budgets
from nerfcl.experiments.budgets import within_budgets
from nerfcl.memory.fill import FILLS, TeacherOutput
from nerfcl.memory.rays import RayMemory, RayMemorySettings
from nerfcl.scenes import load_scene
from nerfcl.strategies import STRATEGIES
from nerfcl.streams.frames import make_trajectory
from nerfcl.streams.stream import Stream
from nerfcl.streams.tasks import make_stream
from support.folders import read_json, results_in
from support.scenes import with_lens

QUICK = [*GRID, "--rays", "64", "--evaluate-every", "99"]
SIZED = {"replay", "replay-images", "replay+", "agem"}
CAMERAS = 6 * CAMERA  # of both tasks


@pytest.fixture(scope="module")
def two_tasks(shared_scene: Path) -> Stream:
    """Three frames of 256 pixels each."""
    return make_stream(load_scene(shared_scene, (16, 16)), ["right", "left"])


@pytest.fixture(scope="module")
def chunks(shared_scene: Path) -> Stream:
    """Six frames, one a chunk."""
    return make_trajectory(load_scene(shared_scene, (16, 16)), "file", 1)


def within(text: str, budgets: Sequence[int], stream: Stream, **options: Any) -> tuple[list[Configuration], list[str]]:
    return within_budgets(ConfigurationText.parse(text).build(options)[0], budgets, stream)


def memory_of(configuration: Configuration) -> Any:
    return getattr(configuration.strategy, "memory")  # noqa: B009  # not every strategy has one


def sizes(text: str, budgets: Sequence[int], stream: Stream, **options: Any) -> dict[str, int]:
    """By labels, the rays or bytes that configurations within budgets may keep."""
    memories = {each.label: memory_of(each) for each in within(text, budgets, stream, **options)[0]}
    return {label: getattr(memory, "bytes", 0) or memory.rays for label, memory in memories.items()}


def test_there_is_one_for_each_budget_up_to_the_first_that_holds_the_past(two_tasks: Stream) -> None:
    # The past is 3 frames of 256 rays; cameras are counted for all frames.
    assert sizes("replay", [2048, 6144, 16_384, 2**20], two_tasks) == {
        "replay @ 2K": (2048 - CAMERAS) // RAY,
        "replay @ 6K": (6144 - CAMERAS) // RAY,
        "replay @ 16K": 768,
    }
    assert sizes("replay", [2**20, 2**30], two_tasks) == {"replay @ 1M": 768}


def test_they_differ_in_the_size_of_their_memory_only(two_tasks: Stream) -> None:
    text = "worst first=replay:memory-fill=topk,replay-fraction=0.75"
    given, _ = ConfigurationText.parse(text).build({})
    (small, large), left_out = within_budgets(given, [1024, 4096], two_tasks)
    assert left_out == []
    for each in (small, large):
        assert each.family == "worst first"
        memory = replace(memory_of(each), rays=20_480)
        assert replace(each.strategy, memory=memory) == given.strategy  # pyright: ignore[reportCallIssue]


def test_losses_and_soft_targets_cost_bytes(two_tasks: Stream) -> None:
    expected = (4096 - CAMERAS) // (RAY + 2)
    assert sizes("replay:memory-fill=topk", [4096], two_tasks) == {"replay memory-fill=topk @ 4K": expected}
    assert sizes("worst first=agem", [4096], two_tasks, memory_draw="topk") == {"worst first @ 4K": expected}
    (size,) = sizes("replay:soft-targets", [4096], two_tasks).values()
    assert size == (4096 - CAMERAS - 3 * 768) // RAY


def test_without_a_size_or_with_one_of_their_own_they_stay_as_they_are(two_tasks: Stream) -> None:
    own = ["replay:memory-rays=5", "a=agem:memory-rays=5", "replay-images:memory-bytes=500", "replay+:memory-rays=5"]
    for text in [*(name for name in STRATEGIES if name not in SIZED), *own]:
        assert within(text, [100, 2**20], two_tasks) == ([ConfigurationText.parse(text).build({})[0]], [])
    assert within("replay", [], two_tasks) == ([ConfigurationText.parse("replay").build({})[0]], [])


def test_budgets_overrule_sizes_that_options_give(two_tasks: Stream) -> None:
    options = {"memory_rays": 5, "memory_bytes": 500}
    assert sizes("replay", [2048], two_tasks, **options) == {"replay @ 2K": (2048 - CAMERAS) // RAY}
    assert sizes("replay-images", [600], two_tasks, **options) == {"replay-images @ 600": 600}
    assert sizes("replay+", [2048], two_tasks, **options) == {"replay+ @ 2K": 2048}


def test_what_cannot_be_met_is_left_out(two_tasks: Stream) -> None:
    (met,), left_out = within("a b=replay", [RAY + CAMERA - 1, RAY + CAMERA], two_tasks)
    assert (met.label, left_out) == (f"a b @ {RAY + CAMERA}", [str(RAY + CAMERA - 1)])
    assert within("replay-images", [100], two_tasks) == ([], ["100"])
    assert within("replay:soft-targets", [2048], two_tasks) == ([], ["2K"])


def test_images_are_counted_as_they_are_compressed(two_tasks: Stream) -> None:
    budgets = [600, 2048, 2**20]
    assert [*sizes("replay-images", budgets, two_tasks)] == ["replay-images @ 600", "replay-images @ 2K"]
    small, large = within("replay-images", budgets, two_tasks)[0]
    memory = small.strategy.new_state(torch.Generator())
    memory.fill(two_tasks[0].train)
    assert memory.nbytes <= memory.settings.bytes == 600
    assert len(memory) < 3
    memory = large.strategy.new_state(torch.Generator())
    memory.fill(two_tasks[0].train)
    assert memory.offered == len(memory) == 3, "the first that holds the past"
    assert memory.nbytes == memory.settings.bytes


def test_rays_and_a_snapshot_together_need_no_more_than_all_rays(two_tasks: Stream) -> None:
    assert sizes("replay+", [2048, 2**20, 2**30], two_tasks) == {
        "replay+ @ 2K": 2048,
        "replay+ @ 1M": 768 * RAY + 3 * CAMERA,
    }
    (size,) = sizes("replay+:soft-targets", [4096], two_tasks).values()
    assert size == 4096 - 3 * 768


def _through_a_lens(stream: Stream) -> Stream:
    """The same views with a lens, whose cameras take more bytes."""
    return Stream(tuple(replace(experience, train=with_lens(experience.train)) for experience in stream))


@pytest.mark.parametrize("fill", [name for name, fill in FILLS.items() if not fill.during_training])
@pytest.mark.parametrize("budget", [87, 300, 600, 1500, 5000, 12_000, 2**20])
def test_a_memory_of_that_size_never_exceeds_the_budget_and_uses_it(
    fill: str, budget: int, two_tasks: Stream, chunks: Stream
) -> None:
    def teacher(pixels: torch.Tensor) -> TeacherOutput:
        return TeacherOutput(torch.zeros(len(pixels), 3).byte(), pixels.float())

    for stream in (two_tasks, chunks, _through_a_lens(two_tasks)):
        settings = RayMemorySettings(fill=fill).within(budget, stream)
        if settings is None:
            assert budget < RAY + 2 + CAMERA
            continue
        assert settings.rays is not None
        memory = RayMemory(settings, torch.Generator().manual_seed(0))
        for experience in stream[:-1]:
            memory.fill(experience.train, teacher)
            assert memory.nbytes <= budget
        room = memory.offered - len(memory)  # rays that were not kept
        assert not room or len(memory) > 0.9 * settings.rays
        assert not room or budget < 1500 or memory.nbytes > 0.5 * budget
        memory.fill(stream[-1].train, teacher)
        assert memory.nbytes <= budget


TEXTS = ["replay", "agem", "replay-images", "worst=replay:memory-fill=topk", "highest=replay:memory-fill=highest"]
TEXTS += ["replay+", "softer=replay+:soft-targets"]


@pytest.mark.parametrize(("command", "length"), [("compare", "--steps"), ("compare-online", "--steps")])
def test_a_comparison_within_budgets_keeps_no_more(
    command: str, length: str, shared_scene: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ["--strategies", *TEXTS, "soft=replay:soft-targets", "finetune", "--budget-bytes", "6K", "3K"]
    start = [command, "--data", str(shared_scene), *QUICK, length, "3"]
    assert main([*start, *options, "--out", str(out)]) == 0
    rows = {row["strategy"]: row for row in read_json(out / "comparison.json")["rows"]}
    assert rows.pop("finetune")["memory_bytes"] == 0
    for label, row in rows.items():
        (budget,) = parse_budgets([label.rpartition(" @ ")[2]])
        assert row["memory_bytes"] <= budget, label
        full = not label.startswith(("replay-images", "highest"))  # the one holds all, the other what few steps saw
        assert row["memory_bytes"] > 0.8 * budget or not full, label
    assert len(rows) == 2 * (len(TEXTS) + 1) - 1, "images need no more than the first budget"
    assert results_in(out / "seed-0/replay-3K")["memory_bytes"] == rows["replay @ 3K"]["memory_bytes"]
    config = read_json(out / "config.json")
    assert config["comparison"]["budgets"] == [3 * 1024, 6 * 1024]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")}
    assert main(config["command"].split()[1:]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")}


def test_every_strategy_runs_within_a_budget(shared_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    left_out = "soft=replay:soft-targets"  # its soft targets take more
    options = ["--strategies", "all", left_out, "--budget-bytes", "2K", "--steps", "3", "--rays", "16"]
    assert main(["compare", "--data", str(shared_scene), *QUICK, *options, "--out", str(out)]) == 0
    rows = {row["strategy"]: row for row in read_json(out / "comparison.json")["rows"]}
    assert list(rows) == [f"{name} @ 2K" if name in SIZED else name for name in STRATEGIES]
    assert all(row["memory_bytes"] <= 2048 for label, row in rows.items() if label.endswith("2K"))
