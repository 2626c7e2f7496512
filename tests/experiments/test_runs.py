"""Rows of a comparison: labels, strategies and their knobs, as written on the command line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nerfcl.cli.options import Compare, CompareOnline, Online, Run
from nerfcl.errors import NerfclError
from nerfcl.experiments.runs import Row, make_strategy, parse_row
from nerfcl.strategies import STRATEGIES, strategy_class
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.joint import Joint
from nerfcl.strategies.replay import Replay, ReplayAll
from nerfcl.strategies.replay_plus import ReplayPlus
from nerfcl.strategies.soft_targets import SoftTargetRegularization
from nerfcl.strategies.strategy import Strategy


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("replay", Row("replay", "replay", ())),
        ("worst first=replay", Row("worst first", "replay", ())),
        (
            "replay:memory-fill=topk,update-losses",
            Row(
                "replay:memory-fill=topk,update-losses", "replay", (("memory_fill", "topk"), ("update_losses", "true"))
            ),
        ),
        (
            "a b=replay:memory-rays=5, soft-replay = no",
            Row("a b", "replay", (("memory_rays", "5"), ("soft_replay", "no"))),
        ),
        ("x=y=joint", Row("x=y", "joint", ())),
        ("soft-targets:", Row("soft-targets:", "soft-targets", ())),
    ],
)
def test_rows_are_read(text: str, row: Row) -> None:
    assert parse_row(text) == row


@pytest.mark.parametrize("text", ["magic", "label=magic", "replay=", "magic:memory-rays=5", "", ":memory-rays=5"])
def test_rows_of_unknown_strategies_are_refused(text: str) -> None:
    with pytest.raises(NerfclError, match="strategies are finetune, replay"):
        parse_row(text)


@pytest.mark.parametrize(
    ("text", "strategy"),
    [
        ("finetune", FineTune()),
        ("joint", Joint()),
        ("replay-all", ReplayAll()),
        ("replay", Replay()),
        ("soft-targets", SoftTargetRegularization()),
        ("replay:memory-rays=77", Replay(memory_rays=77)),
        ("few=replay:memory-rays=77,memory-fill=uniform", Replay(memory_rays=77, memory_fill="uniform")),
        (
            "replay:memory-draw=weighted,exploration=0.25,centre-weight=1",
            Replay(memory_draw="weighted", exploration=0.25, centre_weight=1.0),
        ),
        ("replay:soft-replay,update-losses=yes,soft-targets=True", Replay(soft_replay=True, update_losses=True,
                                                                          soft_targets=True)),
        ("replay:soft-replay=false,update-losses=no", Replay()),
        ("replay-all:memory_draw=topk", ReplayAll(memory_draw="topk")),
        ("soft-targets:rays-per-pixel=9", SoftTargetRegularization(rays_per_pixel=9)),
    ],
)  # fmt: skip
def test_knobs_of_a_row_make_the_strategy(text: str, strategy: Strategy) -> None:
    made = make_strategy(text, Run())
    assert type(made) is type(strategy)
    assert made == strategy


def test_options_of_the_command_hold_where_a_row_says_nothing() -> None:
    config = replace(Run(), memory_rays=99, memory_draw="topk", soft_replay=True, rays_per_pixel=4)
    assert make_strategy("replay", config) == Replay(
        memory_rays=99, memory_draw="topk", soft_replay=True, rays_per_pixel=4
    )
    assert make_strategy("replay:memory-draw=random,soft-replay=no", config) == Replay(memory_rays=99, rays_per_pixel=4)
    assert make_strategy("replay-all", config).memory_rays is None  # pyright: ignore[reportAttributeAccessIssue]
    assert make_strategy("soft-targets", config) == SoftTargetRegularization(rays_per_pixel=4)
    assert make_strategy("finetune", config) == FineTune()


def test_options_that_are_not_given_leave_each_strategy_its_own_defaults() -> None:
    for config in (Run(), Compare(), Online(), CompareOnline()):
        for name in STRATEGIES:
            assert make_strategy(name, config) == strategy_class(name)()
    assert make_strategy("replay+", Run(memory_fill="random")) == ReplayPlus(memory_fill="random")
    assert ReplayPlus().memory_fill != Replay().memory_fill, "or this shows nothing"


@pytest.mark.parametrize(
    ("text", "needles"),
    [
        ("replay:colour=red", ("'replay' has no option 'colour'", "memory-fill", "update-losses")),
        ("finetune:memory-rays=5", ("'finetune' has no option 'memory-rays'", "none")),
        ("replay-all:memory-rays=5", ("'replay-all' has no option 'memory-rays'",)),
        ("replay:memory-rays=many", ("memory-rays=many",)),
        ("replay:memory-rays=1.5", ("memory-rays=1.5",)),
        ("replay:memory-rays", ("memory-rays=true",)),
        ("replay:memory-rays=0", ("--memory-rays 0",)),
        ("replay:update-losses=perhaps", ("update-losses=perhaps",)),
        ("replay:exploration=half", ("exploration=half",)),
        ("replay:memory-draw=weighted,exploration=2", ("--exploration 2",)),
        ("replay:memory-draw=weighted,exploration=nan", ("--exploration nan",)),
        ("replay:exploration=0.5", ("--memory-draw weighted",)),
        ("replay:memory-fill=worst", ("--memory-fill worst", "topk")),
        ("replay:rays-per-pixel=3", ("--rays-per-pixel 3",)),
    ],
)
def test_knobs_and_values_that_there_are_not_are_refused(text: str, needles: tuple[Any, ...]) -> None:
    with pytest.raises(NerfclError) as caught:
        make_strategy(text, Run())
    for needle in needles:
        assert needle in str(caught.value)
    assert "\n" not in str(caught.value)
