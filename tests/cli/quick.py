"""Options with which the commands take a second each, on the tiny scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence

SMALL = ["--img-wh", "16", "16", "--device", "cpu", "--evaluate-views", "1"]
GRID = [*SMALL, "--max-resolution", "16"]
TASKS = [*GRID, "--steps", "12", "--rays", "128", "--evaluate-every", "6", "--frame-every", "4"]
FRAMES = [*GRID, "--steps", "10", "--rays", "64", "--evaluate-every", "8"]

# Bytes of a stored ray, and of the camera of each frame that one is of: pose, intrinsics, size and time.
RAY, CAMERA = 11, 76

Refuse = Callable[[Sequence[str]], str]
"""Returns the one line that a command is refused with; `{scene}`, `{camera}` and `{root}` are filled in."""
