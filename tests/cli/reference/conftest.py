"""Folders in which the reference project's programs work: relative paths begin there."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from support.reference import RIGHT, train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, shared_scene: Path) -> Path:
    """A folder with the tiny scene, in which run r learned the right side for eight epochs; must not be changed."""
    folder = tmp_path_factory.mktemp("reference")
    shutil.copytree(shared_scene, folder / "tiny")
    with contextlib.chdir(folder):
        train(f"{RIGHT} --num_epochs 8 --exp_name r")
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that, to work in."""
    folder = tmp_path / "work"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def scene_only(shared_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the tiny scene and nothing else, to work in."""
    folder = tmp_path / "work"
    shutil.copytree(shared_scene, folder / "tiny")
    monkeypatch.chdir(folder)
    return folder
