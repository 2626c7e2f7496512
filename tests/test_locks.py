"""One process at a time in a folder, however the one before ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nerfcl.errors import NerfclError
from nerfcl.locks import LOCK, locked

HOLD = """
import sys, time
from pathlib import Path
from nerfcl.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    """Another process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_folder_in_use_is_refused_with_its_owner_until_that_is_killed(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    try:
        with pytest.raises(NerfclError, match=rf"^out='.*out': is in use by process {holder.pid} on \S+; wait until"):
            locked(out).__enter__()
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with locked(out):
        assert (out / LOCK).read_text().startswith(f"process {os.getpid()} on ")


def test_a_lock_is_free_again_after_an_error_in_another_thread_too(tmp_path: Path) -> None:
    def fail() -> None:
        with locked(tmp_path):
            raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError):  # noqa: PT011
            fail()
    outcome: list[str] = []

    def attempt() -> None:
        try:
            with locked(tmp_path):
                outcome.append("held")
        except NerfclError:
            outcome.append("refused")

    for expected in ("refused", "held"):
        if expected == "refused":
            with locked(tmp_path):
                thread = threading.Thread(target=attempt)
                thread.start()
                thread.join()
        else:
            attempt()
        assert outcome.pop() == expected


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NerfclError, match=r"cannot be used \(.*\); choose another folder"):
        locked(tmp_path / "file").__enter__()
