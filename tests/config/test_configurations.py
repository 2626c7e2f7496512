"""Which rows, seeds and budgets a comparison has, and that what is kept stays within them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfcl.cli.main import main
from nerfcl.cli.options import Compare, CompareOnline
from nerfcl.errors import NerfclError
from nerfcl.experiments.plans import budget_name, plan_rows, read_budgets, rows_within, settled
from nerfcl.experiments.runs import make_strategy, parse_row
from nerfcl.memory.rays import FILLS, STREAMING, MemorySettings, RayMemory, Recalled
from nerfcl.scenes import load_scene
from nerfcl.strategies import STRATEGIES
from nerfcl.strategies.budget import rays_within
from nerfcl.streams.frames import make_trajectory
from nerfcl.streams.tasks import Stream, make_stream

QUICK = ["--img-wh", "16", "16", "--finest", "16", "--rays", "64", "--device", "cpu", "--evaluate-every", "99"]
QUICK += ["--evaluate-views", "1"]
SIZED = {"replay", "replay-images", "replay+", "agem"}


@pytest.fixture(scope="module")
def two_tasks(shared_scene: Path) -> Stream:
    """Three frames of 256 pixels each."""
    return make_stream(load_scene(str(shared_scene), (16, 16)), ["right", "left"])


@pytest.fixture(scope="module")
def chunks(shared_scene: Path) -> Stream:
    """Six frames, one a chunk."""
    return make_trajectory(load_scene(str(shared_scene), (16, 16)), "file", 1)


# Options


@pytest.mark.parametrize(
    ("given", "seeds"),
    [((0,), (0,)), ((1,), (0,)), ((5,), (0, 1, 2, 3, 4)), ((3, 1), (3, 1)), ((0, 1), (0, 1)), ((-4, 2), (-4, 2))],
)
def test_one_number_is_how_many_seeds_there_are_several_are_the_seeds(
    given: tuple[int, ...], seeds: tuple[int, ...]
) -> None:
    assert settled(Compare(seeds=given)).seeds == seeds
    again = settled(Compare(seeds=given))
    assert settled(again) == again


def test_all_is_every_strategy_that_fits() -> None:
    assert settled(Compare(strategies=("all",))).strategies == tuple(STRATEGIES)
    rows = settled(CompareOnline(strategies=("a=replay", "all")), ["finetune", "joint"]).strategies
    assert rows == ("a=replay", "finetune", "joint")


def test_budgets_are_read_and_named() -> None:
    assert read_budgets(["1M", "64k", "1000", "2G"]) == [1000, 65_536, 1_048_576, 2 * 1024**3]
    assert [budget_name(budget) for budget in (1000, 1024, 65_536, 1_048_576, 1536 * 1024, 1024**3)] == [
        "1000", "1K", "64K", "1M", "1536K", "1G",
    ]  # fmt: skip
    assert settled(Compare(budget_bytes=("1M", "65536"))).budget_bytes == ("64K", "1M")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": ()}, "--seeds"),
        ({"seeds": (-1,)}, "--seeds -1"),
        ({"seeds": (2, 2)}, "--seeds 2 2"),
        ({"strategies": ("all", "replay")}, "none twice"),
        ({"strategies": ("all", "replay=finetune")}, "same label"),
        ({"strategies": ("every",)}, "--strategy every"),
        ({"budget_bytes": ("0",)}, "--budget-bytes 0"),
        ({"budget_bytes": ("-5K",)}, "--budget-bytes -5K"),
        ({"budget_bytes": ("1.5M",)}, "--budget-bytes 1.5M"),
        ({"budget_bytes": ("64KB",)}, "--budget-bytes 64KB"),
        ({"budget_bytes": ("",)}, "--budget-bytes"),
        ({"budget_bytes": ("lots",)}, "--budget-bytes lots"),
        ({"budget_bytes": ("64K", "65536")}, "two are the same"),
        ({"budget_bytes": ("٣K",)}, "--budget-bytes ٣K"),
    ],
)
def test_what_cannot_be_is_refused_early(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NerfclError, match=message):
        settled(Compare(**options))


def test_the_command_refuses_it_before_anything_is_written(
    shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for command in ("compare", "compare-online"):
        start = [command, "--data", str(shared_scene), *QUICK, "--out", str(out)]
        assert main([*start, "--budget-bytes", "64X"]) == 2
        assert "--budget-bytes 64X" in capsys.readouterr().err
        assert main([*start, "--strategies", "replay", "agem", "--budget-bytes", "20"]) == 2
        assert "--budget-bytes 20: no strategy can keep so little" in capsys.readouterr().err
    assert not out.exists()


# Rows


def test_a_row_becomes_one_for_each_budget_up_to_the_first_that_holds_the_past(two_tasks: Stream) -> None:
    # The past is 3 frames of 256 rays; cameras are counted for all 6: 6 x 76 = 456 bytes.
    rows = rows_within("replay", [2048, 6144, 16_384, 2**20], two_tasks, Compare())
    assert rows == [
        f"replay @ 2K=replay:memory-rays={(2048 - 456) // 11}",
        f"replay @ 6K=replay:memory-rays={(6144 - 456) // 11}",
        "replay @ 16K=replay:memory-rays=768",
    ]
    assert rows_within("replay", [2**20, 2**30], two_tasks, Compare()) == ["replay @ 1M=replay:memory-rays=768"]


def test_losses_and_soft_targets_cost_bytes(two_tasks: Stream) -> None:
    (row,) = rows_within("replay:memory-fill=topk", [4096], two_tasks, Compare())
    assert row == f"replay memory-fill=topk @ 4K=replay:memory-fill=topk,memory-rays={(4096 - 456) // 13}"
    assert parse_row(row).label == "replay memory-fill=topk @ 4K"
    (row,) = rows_within("worst first=agem", [4096], two_tasks, Compare(memory_draw="topk"))
    assert row == f"worst first @ 4K=agem:memory-rays={(4096 - 456) // 13}"
    (row,) = rows_within("replay:soft-targets", [4096], two_tasks, Compare())
    assert row.endswith(f"soft-targets=true,memory-rays={(4096 - 456 - 768 * 3) // 11}")


def test_rows_without_a_size_or_with_one_of_their_own_stay_as_they_are(two_tasks: Stream) -> None:
    for name in STRATEGIES:
        if name not in SIZED:
            assert rows_within(name, [100, 2**20], two_tasks, Compare()) == [name]
    for row in (
        "replay:memory-rays=5",
        "a=agem:memory-rays=5",
        "replay-images:memory-bytes=500",
        "replay+:memory-rays=5",
    ):
        assert rows_within(row, [2048, 2**20], two_tasks, Compare()) == [row]
    assert rows_within("replay", [], two_tasks, Compare()) == ["replay"]


def test_what_a_strategy_cannot_meet_is_left_out_and_said(
    two_tasks: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rows_within("a b=replay", [86, 87], two_tasks, Compare()) == ["a b @ 87=replay:memory-rays=1"]
    assert capsys.readouterr().err == "a b: nothing useful fits into 86; left out\n"
    assert rows_within("replay-images", [100], two_tasks, Compare()) == []


def test_images_are_counted_as_they_are_compressed(two_tasks: Stream) -> None:
    rows = rows_within("replay-images", [600, 2048, 2**20], two_tasks, Compare())
    assert rows[0] == "replay-images @ 600=replay-images:memory-bytes=600"
    strategy = make_strategy(rows[1], Compare())
    state = strategy.new_state(torch.Generator())
    state.fill(two_tasks[0].train)
    assert state.offered == len(state) == 3, "the first that holds the past"
    assert len(rows) == 2
    assert state.nbytes == strategy.memory_bytes  # pyright: ignore[reportAttributeAccessIssue]


def test_rays_and_a_snapshot_together_need_no_more_than_all_rays(two_tasks: Stream) -> None:
    rows = rows_within("replay+", [2048, 2**20, 2**30], two_tasks, Compare())
    assert rows == [
        "replay+ @ 2K=replay+:memory-bytes=2048",
        f"replay+ @ 1M=replay+:memory-bytes={768 * 11 + 3 * 76}",
    ]
    (row,) = rows_within("replay+:soft-targets", [4096], two_tasks, Compare())
    assert row.endswith(f"memory-bytes={4096 - 3 * 768}")


def test_labels_of_budgets_may_not_meet(two_tasks: Stream) -> None:
    config = replace(settled(Compare(strategies=("replay", "replay-2K=agem:memory-rays=5"))), budget_bytes=("2K",))
    with pytest.raises(NerfclError, match="same label"):
        plan_rows(config, [two_tasks, two_tasks])


# Bytes


@pytest.mark.parametrize("fill", [fill for fill in FILLS if fill not in STREAMING])
@pytest.mark.parametrize("budget", [87, 300, 600, 1500, 5000, 12_000, 2**20])
def test_a_memory_of_that_capacity_never_exceeds_the_budget_and_uses_it(
    fill: str, budget: int, two_tasks: Stream, chunks: Stream
) -> None:
    for stream in (two_tasks, chunks):
        settings = MemorySettings(fill=fill)
        capacity = rays_within(budget, settings, stream)
        if not capacity:
            assert budget < 11 + 2 + 76
            continue
        memory = RayMemory(replace(settings, capacity=capacity), torch.Generator().manual_seed(0))
        for experience in stream[:-1]:
            memory.fill(experience.train, lambda pixels: Recalled(torch.zeros(len(pixels), 3).byte(), pixels.float()))
            assert memory.nbytes <= budget
        room = memory.offered - len(memory)  # rays that were not kept
        assert not room or len(memory) > 0.9 * capacity
        assert not room or budget < 1500 or memory.nbytes > 0.6 * budget
        memory.fill(stream[-1].train, lambda pixels: Recalled(torch.zeros(len(pixels), 3).byte(), pixels.float()))
        assert memory.nbytes <= budget


ROWS = ["replay", "agem", "replay-images", "worst=replay:memory-fill=topk", "highest=replay:memory-fill=highest"]
ROWS += ["replay+", "softer=replay+:soft-targets"]


@pytest.mark.parametrize("command", ["compare", "compare-online"])
def test_a_comparison_within_budgets_keeps_no_more(command: str, shared_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    length = ["--steps", "4"] if command == "compare" else ["--iters-per-chunk", "3"]
    options = ["--strategies", *ROWS, "soft=replay:soft-targets", "finetune", "--budget-bytes", "6K", "3K"]
    assert main([command, "--data", str(shared_scene), *QUICK, *length, *options, "--out", str(out)]) == 0
    rows = {row["strategy"]: row for row in json.loads((out / "comparison.json").read_text())["rows"]}
    assert rows.pop("finetune")["memory_bytes"] == 0
    for label, row in rows.items():
        budget = read_budgets([label.rpartition(" @ ")[2]])[0]
        assert row["memory_bytes"] <= budget, label
        full = not label.startswith(("replay-images", "highest"))  # the one holds all, the other what few steps saw
        assert row["memory_bytes"] > 0.8 * budget or not full, label
    assert len(rows) == 2 * (len(ROWS) + 1) - 1, "images need no more than the first budget"
    assert (out / "seed-0/replay-3K/results.json").exists()
    config = json.loads((out / "config.json").read_text())
    assert config["settings"]["budget_bytes"] == ["3K", "6K"]
    assert main([*config["command"].split()[1:]]) == 0


def test_every_strategy_runs_within_a_budget(shared_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    left_out = "soft=replay:soft-targets"  # its soft targets take more
    options = ["--strategies", "all", left_out, "--budget-bytes", "2K", "--steps", "3", "--rays", "16"]
    assert main(["compare", "--data", str(shared_scene), *QUICK, *options, "--out", str(out)]) == 0
    rows = {row["strategy"]: row for row in json.loads((out / "comparison.json").read_text())["rows"]}
    assert list(rows) == [f"{name} @ 2K" if name in SIZED else name for name in STRATEGIES]
    assert all(row["memory_bytes"] <= 2048 for label, row in rows.items() if label.endswith("2K"))
