"""Every program in examples/ runs, on a tiny setting."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
TINY = {
    "01_forgetting.py": "--steps 3 --size 16",
    "02_strategy_of_your_own.py": "--steps 3 --size 16",
    "03_camera_that_does_not_stop.py": "--frames 6 --steps-per-chunk 2 --size 16",
    "04_own_frames_and_poses.py": "--steps 3 --size 16",
    "05_compare_at_equal_bytes.py": "--steps 3 --size 16 --out out",
}


def test_every_example_is_here_and_short() -> None:
    programs = {path.name: path for path in EXAMPLES.glob("*.py")}
    assert programs.keys() == TINY.keys()
    assert all(len(path.read_text().splitlines()) < 60 for path in programs.values())


@pytest.mark.parametrize("name", TINY)
def test_it_runs(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / name), *TINY[name].split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "dB" in done.stdout
