"""Comparisons that others must equal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jobs.examples import STRATEGIES, command
from nerfcl.cli.main import main


@pytest.fixture(scope="session")
def in_turn(tmp_path_factory: pytest.TempPathFactory, shared_scene: Path) -> Path:
    """The folder of a comparison whose runs this process did."""
    out = tmp_path_factory.mktemp("jobs") / "in-turn"
    assert main(command("compare", shared_scene, out, *STRATEGIES)) == 0
    return out


@pytest.fixture
def as_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets each run have as many threads as this process."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
