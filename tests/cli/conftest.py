"""Commands that are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cli.quick import Refuse
from nerfcl.cli.describe import describe_comparison, describe_run
from nerfcl.cli.main import main
from nerfcl.cli.options import Compare, CompareOnline, Online, Run
from scenes.recording import record
from support.folders import describe_in
from support.refusals import refused


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory, shared_scene: Path) -> dict[str, Path]:
    """What arguments name in braces: the scene, a watched folder, and descriptions of all kinds."""
    root = tmp_path_factory.mktemp("refusals")
    described = {"run": describe_run(Run())[0], "online": describe_run(Online())[0]}
    described["watching"] = describe_run(Online(watch=root / "camera"))[0]
    for name, experiment in described.items():
        describe_in(root / name, experiment, label="some")
    describe_in(root / "compare", describe_comparison(Compare()))
    describe_in(root / "compare-online", describe_comparison(CompareOnline()))
    record(root / "camera", range(2))
    (root / "camera/done").touch()
    (root / "a file").touch()
    return {"scene": shared_scene, "root": root, "camera": root / "camera"}


@pytest.fixture
def refuse(places: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Refuses a command whose results would go into a new folder."""

    def refuse(arguments: Sequence[str]) -> str:
        filled = [argument.format(**places) for argument in arguments]
        return refused(main, [*filled, "--out", str(tmp_path / "out")], capsys, out=tmp_path / "out")

    return refuse
