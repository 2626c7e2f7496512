"""Threads and processes that must come to an end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

PATIENCE = 90.0  # seconds


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fail where it does not come true."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.005)


def in_background(action: Callable[[], Any]) -> threading.Thread:
    """Do something in a thread that does not keep the process alive."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def in_time(action: Callable[[], Any]) -> Any:
    """Return the action's result, or what it raised; fail where it hangs."""
    outcome: list[Any] = []

    def attempt() -> None:
        try:
            outcome.append(action())
        except BaseException as error:
            outcome.append(error)

    in_background(attempt).join(PATIENCE)
    assert outcome, "it hangs"
    return outcome[0]


def kill_when(arguments: Sequence[str], due: Callable[[], bool]) -> None:
    """Run nerfcl in a process of its own, and kill it without a word when it is time."""
    threads = {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "nerfcl", *arguments],
        env={**os.environ, **threads},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + PATIENCE
        while not due():
            assert time.monotonic() < until, "it never came so far"
            assert process.poll() is None, "it was over before"
            time.sleep(0.001)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
