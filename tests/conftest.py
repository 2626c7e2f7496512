"""Fixtures that several test files need; helpers are in `support`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from support.scenes import write_tiny_scene

# The machines that run the tests differ in speed, and a failure must come back when it is looked into.
settings.register_profile("nerfcl", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("nerfcl")

SHARED = Path(__file__).resolve().parents[2] / "shared/data"


@pytest.fixture
def tiny_scene_folder(tmp_path: Path) -> Path:
    """A tiny scene that the test may change."""
    return write_tiny_scene(tmp_path / "tiny")


@pytest.fixture(scope="session")
def shared_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny scene that is shared by many tests, and must not be changed."""
    return write_tiny_scene(tmp_path_factory.mktemp("scene") / "tiny")


@pytest.fixture(scope="session")
def lego() -> Path:
    """The folder of the "lego" scene; skips where the shared test data is absent."""
    return _shared("nerf_synthetic/lego")


@pytest.fixture(scope="session")
def fox() -> Path:
    """The folder of the phone capture "fox"; skips where the shared test data is absent."""
    return _shared("fox")


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}")
    return folder
