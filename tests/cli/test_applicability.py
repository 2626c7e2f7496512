"""Options that do not apply to what was asked for are refused by all commands alike."""

from __future__ import annotations

import pytest

from cli.quick import SMALL, Refuse
from nerfcl.cli.main import main

TRAININGS = ("run", "compare", "online", "compare-online")
FIELD = ["--field", "nerf"]
NOT_APPLICABLE: list[tuple[str, list[str], str]] = [
    ("finetune", ["--memory-rays", "5"], "--memory-rays"),
    ("joint", ["--replay-fraction", "0.75"], "--replay-fraction"),
    ("replay", ["--memory-bytes", "500"], "--memory-bytes"),
    ("replay-all", ["--memory-fill", "topk"], "--memory-fill"),
    ("replay-images", ["--memory-draw", "topk"], "--memory-draw"),
    ("agem", ["--update-losses"], "--update-losses"),
    ("ewc", ["--soft-replay"], "--soft-replay"),
    ("generative", ["--soft-targets"], "--soft-targets"),
    ("finetune", ["--samples", "8"], "--samples"),
    ("finetune", ["--use-disp"], "--use-disp"),
    ("finetune", [*FIELD, "--max-resolution", "32"], "--max-resolution"),
    ("finetune", [*FIELD, "--width", "16"], "--width"),
]


@pytest.mark.parametrize("command", TRAININGS)
@pytest.mark.parametrize(("strategy", "options", "flag"), NOT_APPLICABLE)
def test_options_that_do_not_apply_are_refused_by_all_trainings(
    command: str, strategy: str, options: list[str], flag: str, refuse: Refuse
) -> None:
    # Others of a comparison that do not have it, either, make no difference.
    other = "mas" if strategy == "finetune" else "finetune"
    chosen = ["--strategies", strategy, other] if "compare" in command else ["--strategy", strategy]
    line = refuse([command, "--data", "{scene}", *SMALL, *options, *chosen])
    assert f"{flag}: does not apply here (strategy {strategy}" in line
    assert "leave it out" in line


@pytest.mark.parametrize("command", TRAININGS)
@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("replay:ewc-lambda=1", ["replay", "lambda"]),
        ("finetune:memory-rays=5", ["finetune", "rays"]),
        ("replay-all:memory-rays=5", ["replay-all", "rays"]),
        ("joint:steps=5", ["joint", "steps"]),
    ],
)
def test_hyperparameters_of_others_are_refused_by_all_trainings(
    command: str, text: str, names: list[str], refuse: Refuse
) -> None:
    option = "--strategies" if "compare" in command else "--strategy"
    line = refuse([command, "--data", "{scene}", *SMALL, option, text])
    assert "has no hyperparameter" in line
    assert all(name in line for name in names)


@pytest.mark.parametrize(
    "option",
    [
        ["--data", "builtin"], ["--spheric-poses"], ["--pixel-center", "0.5"], ["--order", "file"], ["--frames", "5"],
        ["--evaluate-every", "5"], ["--evaluate-views", "5"], ["--test-every", "5"], ["--seen-every", "5"],
        ["--frame-every", "5"],
    ],
)  # fmt: skip
def test_options_of_scenes_are_refused_with_a_watched_folder(option: list[str], refuse: Refuse) -> None:
    line = refuse(["online", "--watch", "{camera}", "--device", "cpu", *option])
    assert f"{option[0]}: does not apply here (strategy replay, field hashgrid, a watched folder)" in line


def test_the_box_is_refused_without_a_watched_folder(refuse: Refuse) -> None:
    box = ["--box", "0", "0", "0", "1"]
    assert "--box: does not apply here" in refuse(["online", "--data", "{scene}", *SMALL, *box])


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("run", "--no-such-option --order --frames --strategies --seeds --jobs --watch --ewc-lambda"),
        ("compare", "--no-such-option --order --strategy --seed --watch --box --ewc-lambda"),
        ("online", "--no-such-option --tasks --epochs --strategies --seeds --ray --ewc-lambda"),
        ("compare-online", "--no-such-option --tasks --epochs --strategy --seed --watch --box --ewc-lambda"),
        ("eval", "--no-such-option --strategy"),
        ("make-scene", "--no-such-option --data"),
    ],
)
def test_options_of_other_commands_are_unknown(command: str, options: str, capsys: pytest.CaptureFixture[str]) -> None:
    needed = {"eval": ["x.pt"], "make-scene": ["--out", "x"]}.get(command, [])
    for option in options.split():
        with pytest.raises(SystemExit) as stopped:
            main([command, *needed, option, "1"])
        assert stopped.value.code == 2
        assert option in capsys.readouterr().err
