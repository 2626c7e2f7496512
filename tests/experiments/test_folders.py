from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nerfcl.config.experiment import SCHEMA
from nerfcl.errors import NerfclError
from nerfcl.experiments.folders import CONFIG, claimed
from nerfcl.files import write_json
from nerfcl.locks import LOCK

CONTENT = {"schema": SCHEMA, "experiment": {}}


def _claim(folder: Path) -> bool:
    with claimed(folder, CONTENT, lambda _: set()) as known:
        return known


def test_a_config_that_a_rival_writes_while_the_folder_is_looked_at_is_that_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_folder = Path.iterdir

    def write_and_list(folder: Path) -> Iterator[Path]:
        write_json(folder / CONFIG, CONTENT)
        return list_folder(folder)

    monkeypatch.setattr(Path, "iterdir", write_and_list)
    assert _claim(tmp_path)


def test_what_a_killed_process_left_before_its_config_does_not_occupy_a_folder(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("process 1 on elsewhere\n")
    (tmp_path / ".config.999999999-0123abcd.part.json").write_text("{")
    assert not _claim(tmp_path)
    assert _claim(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {LOCK, CONFIG}


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(NerfclError, match="is not a run's folder"):
        _claim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
