"""Configurations of a comparison as they are written: labels, strategies, hyperparameters; and budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from nerfcl.config.configurations import Configuration, ConfigurationText, budget_name, check_labels, parse_budgets
from nerfcl.errors import NerfclError
from nerfcl.memory.images import ImageMemorySettings
from nerfcl.memory.rays import DrawSettings, RayMemorySettings
from nerfcl.memory.snapshots import SnapshotSettings
from nerfcl.strategies import STRATEGIES
from nerfcl.strategies.distill import Distill
from nerfcl.strategies.ewc import Ewc
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.joint import Joint
from nerfcl.strategies.mas import Mas
from nerfcl.strategies.replay import Replay, ReplayAll
from nerfcl.strategies.replay_images import ReplayImages
from nerfcl.strategies.replay_plus import RaysAndSnapshotSettings, ReplayPlus
from nerfcl.strategies.soft_targets import SoftTargetRegularization
from nerfcl.strategies.strategy import Strategy


@pytest.mark.parametrize(
    ("text", "label", "name", "options"),
    [
        ("replay", "replay", "replay", {}),
        ("worst first=replay", "worst first", "replay", {}),
        (
            "replay:memory-fill=topk,update-losses",
            "replay:memory-fill=topk,update-losses",
            "replay",
            {"memory_fill": "topk", "update_losses": "true"},
        ),
        (
            "a b=replay:memory-rays=5, soft-replay = no",
            "a b",
            "replay",
            {"memory_rays": "5", "soft_replay": "no"},
        ),
        ("x=y=joint", "x=y", "joint", {}),
        ("soft-targets:", "soft-targets:", "soft-targets", {}),
    ],
)
def test_label_strategy_and_hyperparameters_are_read(
    text: str, label: str, name: str, options: Mapping[str, str]
) -> None:
    assert ConfigurationText.parse(text) == ConfigurationText(label, name, options)


@pytest.mark.parametrize("text", ["magic", "label=magic", "replay=", "magic:memory-rays=5", "", ":memory-rays=5"])
def test_unknown_strategies_are_refused(text: str) -> None:
    with pytest.raises(NerfclError, match="choose from finetune, replay"):
        ConfigurationText.parse(text)


@pytest.mark.parametrize(
    ("text", "strategy"),
    [
        ("finetune", FineTune()),
        ("joint", Joint()),
        ("replay-all", ReplayAll()),
        ("replay", Replay()),
        ("soft-targets", SoftTargetRegularization()),
        ("replay:memory-rays=77", Replay(RayMemorySettings(rays=77))),
        ("few=replay:memory-rays=77,memory-fill=uniform", Replay(RayMemorySettings(rays=77, fill="uniform"))),
        (
            "replay:memory-draw=weighted,exploration=0.25,centre-weight=1",
            Replay(RayMemorySettings(draw="weighted", exploration=0.25, centre_weight=1.0)),
        ),
        (
            "replay:soft-replay,update-losses=yes,soft-targets=True",
            Replay(RayMemorySettings(soft_replay=True), update_losses=True, soft_targets=True),
        ),
        ("replay:soft-replay=false,update-losses=no", Replay()),
        ("replay:memory-rays=none", Replay(RayMemorySettings(rays=None))),
        ("replay-all:memory_draw=topk", ReplayAll(DrawSettings(draw="topk"))),
        ("replay-images:memory-bytes=500", ReplayImages(ImageMemorySettings(500))),
        ("replay+:memory-bytes=500", ReplayPlus(RaysAndSnapshotSettings(bytes=500))),
        ("distill:snapshot-every=2,snapshot-bits=4", Distill(SnapshotSettings(bits=4, every=2))),
        ("soft-targets:rays-per-pixel=9", SoftTargetRegularization(rays_per_pixel=9)),
    ],
)
def test_hyperparameters_make_the_strategy(text: str, strategy: Strategy) -> None:
    configuration, unknown = ConfigurationText.parse(text).build({})
    assert type(configuration.strategy) is type(strategy)
    assert configuration.strategy == strategy
    assert unknown == set()


@pytest.mark.parametrize(
    ("text", "strategy"),
    [
        ("replay:past-share=0.75", Replay(replay_fraction=0.75)),
        ("ewc:strength=2,keep=0.5", Ewc(ewc_lambda=2.0, importance_decay=0.5)),
        ("mas:strength=2", Mas(mas_lambda=2.0)),
        ("distill:renew-every=3", Distill(SnapshotSettings(every=3))),
    ],
)
def test_old_names_of_hyperparameters_are_understood(text: str, strategy: Strategy) -> None:
    assert ConfigurationText.parse(text).build({})[0].strategy == strategy


@pytest.mark.parametrize(
    ("text", "sized"), [("replay", False), ("replay:memory-fill=topk", False), ("replay:memory-rays=20480", True),
                        ("replay-images:memory-bytes=5", True), ("finetune", False)],
)  # fmt: skip
def test_a_size_in_the_text_is_its_own(text: str, sized: bool) -> None:
    assert ConfigurationText.parse(text).build({"memory_rays": 7, "memory_bytes": 7})[0].sized == sized


def test_options_hold_where_the_text_says_nothing() -> None:
    options = {"memory_rays": 99, "memory_draw": "topk", "soft_replay": True, "rays_per_pixel": 4}

    def built(text: str) -> tuple[Strategy, set[str]]:
        configuration, unknown = ConfigurationText.parse(text).build(options)
        return configuration.strategy, unknown

    memory = RayMemorySettings(rays=99, draw="topk", soft_replay=True)
    assert built("replay") == (Replay(memory, rays_per_pixel=4), set())
    plain = Replay(RayMemorySettings(rays=99), rays_per_pixel=4)
    assert built("replay:memory-draw=random,soft-replay=no") == (plain, set())
    everything = ReplayAll(DrawSettings(draw="topk", soft_replay=True), rays_per_pixel=4)
    assert built("replay-all") == (everything, {"memory_rays"})
    of_rays = {"memory_rays", "memory_draw", "soft_replay"}
    assert built("soft-targets") == (SoftTargetRegularization(rays_per_pixel=4), of_rays)
    assert built("finetune") == (FineTune(), set(options))


def test_without_options_each_strategy_has_its_own_defaults() -> None:
    for name in STRATEGIES:
        assert ConfigurationText.parse(name).build({})[0] == Configuration(name, STRATEGIES[name]())
    assert ReplayPlus().memory.fill != Replay().memory.fill, "or this shows nothing"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("replay:colour=red", r"strategy='replay': has no hyperparameter colour"),
        ("replay:ewc-lambda=1", r"strategy='replay': has no hyperparameter ewc.lambda"),
        ("finetune:memory-rays=5", r"strategy='finetune': has no hyperparameter memory.rays"),
        ("replay-all:memory-rays=5", r"strategy='replay-all': has no hyperparameter memory.rays"),
        ("joint:past-share=0.5,steps=3", r"strategy='joint': has no hyperparameter past.share, steps"),
        ("replay:memory-rays=many", r"rays='many': must be of type int"),
        ("replay:memory-rays=1.5", r"rays='1.5': must be of type int"),
        ("replay:memory-rays", r"rays='true': must be of type int"),
        ("replay:memory-rays=0", r"rays=0: must be at least 1"),
        ("replay:update-losses=perhaps", r"update_losses='perhaps': must be of type bool"),
        ("generative:replay-fraction=much", r"replay_fraction='much': must be of type float"),
        ("replay:exploration=half", r"exploration='half': must be of type float"),
        ("replay:memory-draw=weighted,exploration=2", r"exploration=2\.0: must lie between 0 and 1"),
        ("replay:memory-draw=weighted,exploration=nan", r"exploration=nan: must lie between 0 and 1"),
        ("replay:exploration=0.5", r"exploration=0\.5: needs .*weight"),
        ("replay:memory-fill=worst", r"fill='worst': must be one of .*topk"),
        ("replay:rays-per-pixel=3", r"rays_per_pixel=3"),
        ("replay-images:memory-bytes=0", r"bytes=0: must be at least 1"),
        ("replay-images:memory-bytes=all", r"bytes='all': must be of type int or none"),
    ],
)
def test_hyperparameters_and_values_that_there_are_not_are_refused(text: str, words: str) -> None:
    with pytest.raises(NerfclError, match=words) as caught:
        ConfigurationText.parse(text).build({})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a", "a"], r"'a' gives two configurations the same folder"),
        (["a b", "a/b"], r"'a/b' gives two configurations the same folder"),
        (["a", "taken"], r"'taken' is reserved by the comparison"),
        ([".."], r"'\.\.' is reserved by the comparison"),
        (["."], r"'\.' is reserved by the comparison"),
    ],
)
def test_labels_that_cannot_name_folders_are_refused(labels: Sequence[str], words: str) -> None:
    with pytest.raises(NerfclError, match=words):
        check_labels([Configuration(label, FineTune()) for label in labels], ["taken"])


def test_a_configuration_can_be_written_down_and_read() -> None:
    for name in STRATEGIES:
        configuration = ConfigurationText.parse(f"some label={name}").build({"memory_rays": 5})[0]
        assert Configuration.from_plain(configuration.to_plain()) == configuration
        assert configuration.file_name == "some-label"


def test_budgets_are_read_and_named() -> None:
    assert parse_budgets(["1M", "64k", "1000", "2G"]) == [1000, 65_536, 1_048_576, 2 * 1024**3]
    assert [budget_name(budget) for budget in (1000, 1024, 65_536, 1_048_576, 1536 * 1024, 1024**3)] == [
        "1000", "1K", "64K", "1M", "1536K", "1G",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["0", "-5K", "1.5M", "64KB", "", "lots", "٣K"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(NerfclError, match=rf"budget_bytes='{text}': must be a number of bytes"):
        parse_budgets(["1M", text])


def test_two_budgets_that_are_the_same_are_refused() -> None:
    with pytest.raises(NerfclError, match="two are the same"):
        parse_budgets(["64K", "65536"])
