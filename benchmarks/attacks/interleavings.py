"""Random interleavings: threads that call an `OnlineLearner` at random, and a strategy that does so from its hooks."""

from __future__ import annotations

import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nerfcl.errors import NerfclError
from nerfcl.models.fields.hash_grid import HashGridSettings
from nerfcl.online.learner import OnlineLearner
from nerfcl.online.queue import CLOSED
from nerfcl.online.settings import OnlineSettings
from nerfcl.scenes.cameras import Camera, look_at
from nerfcl.strategies.finetune import FineTune

PATIENCE = 60.0  # seconds after which a call hangs
SIDE = 11  # pixels

_METHODS = ["observe"] * 8 + ["render", "status", "finish", "save", "evaluated_model"]


@dataclass(frozen=True)
class Play:
    """What was played.

    Attributes:
        calls: calls of all threads, and of the strategy.
        refused: calls that raised a NerfclError.
        accepted: frames that were accepted.
    """

    calls: int
    refused: int
    accepted: int


@dataclass(frozen=True)
class Meddling(FineTune):
    """Fine-tuning that calls a function in each of its hooks."""

    meddle: Callable[[], None] = field(default=lambda: None)

    def begin(self, state: Any, experience: Any, model: Any) -> None:
        self.meddle()

    def batch(self, state: Any, new: Any) -> Any:
        self.meddle()
        return new

    def end(self, state: Any, experience: Any, model: Any) -> None:
        self.meddle()


class _Game:
    """One learner, the calls that are made to it, and what each must lead to."""

    def __init__(self, seed: int, folder: Path) -> None:
        chance = random.Random(seed)
        self.seed, self.path = seed, folder / "learner.pt"
        self.closes, self.fails = chance.random() < 0.4, chance.random() < 0.1
        self.in_hooks = random.Random(seed + 1)
        self.hook_rate = chance.choice([0.0, 0.05, 0.3])
        settings = OnlineSettings(
            chunk_frames=chance.choice([1, 2, 3]),
            steps_per_chunk=chance.choice([1, 2]),
            rays=8,
            queue_frames=chance.choice([3, 4, 8]),
            when_full=chance.choice(["block", "drop-oldest"]),
        )
        self.learner = OnlineLearner.around(
            (0.0, 0.0, 0.0),
            2.0,
            SIDE,
            Meddling(meddle=self._meddle),
            settings,
            field=HashGridSettings(levels=1, max_resolution=16),
        )
        pose = look_at(torch.tensor([0.0, -4.0, 0.0]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
        self.camera = Camera(pose, torch.tensor([12.0, 12.0, SIDE / 2, SIDE / 2]), SIDE, SIDE)
        self.image = torch.full((SIDE, SIDE, 3), 90, dtype=torch.uint8)
        self.guard = threading.Lock()
        self.calls = self.refused = self.accepted = 0
        self.closing = self.failing = False
        self.errors: list[str] = []
        plans = [self._plan(chance) for _ in range(chance.choice([2, 3, 4]))]
        if self.closes:
            plans[-1].append(("close", 0.0))
        self.plans = plans

    def _plan(self, chance: random.Random) -> list[tuple[str, float]]:
        pauses = [0.0, 0.0, 0.0, 1e-4, 1e-3]
        return [(chance.choice(_METHODS), chance.choice(pauses)) for _ in range(chance.randint(2, 7))]

    def call(self, method: str, *, in_hook: bool = False) -> None:
        """Call a method, and note if the outcome is not one of those that the table of `OnlineLearner` allows."""
        with self.guard:
            self.calls += 1
            self.closing |= method == "close"
            accepted_before = self.accepted
        try:
            self._do(method, accepted_before)
        except NerfclError as error:
            with self.guard:
                self.refused += 1
                if not self._is_allowed(method, str(error), in_hook):
                    self.errors.append(f"{method}: {error}")
        except BaseException as error:
            self.errors.append(f"{method}: {error!r}")

    def _do(self, method: str, accepted_before: int) -> None:
        learner = self.learner
        if method == "observe":
            learner.observe(self.image, self.camera.world_from_camera, self.camera.intrinsics)
            with self.guard:
                self.accepted += 1
        elif method == "render":
            shape = tuple(learner.render(self.camera).rgb.shape)
            assert shape == (SIDE, SIDE, 3)
        elif method == "finish":
            finished = learner.finish()
            assert finished.seen - finished.waiting >= accepted_before, "frames that were accepted are not learned"
        elif method == "save":
            learner.save(self.path.with_name(f"{threading.get_ident()}.pt"))
        elif method == "evaluated_model":
            _ = learner.evaluated_model
        else:
            getattr(learner, method)()

    def _is_allowed(self, method: str, message: str, in_hook: bool) -> bool:
        if message.startswith("learning failed: on purpose"):
            return self.failing
        if message == CLOSED:
            return self.closing and method in ("observe", "finish")
        if in_hook:
            return "from a strategy" in message or "its own work" in message
        return False

    def _meddle(self) -> None:
        if self.in_hooks.random() >= self.hook_rate:
            return
        if self.fails and self.in_hooks.random() < 0.3:
            self.failing = True
            raise RuntimeError("on purpose")
        self.call(self.in_hooks.choice(_METHODS + ["close"] * self.closes), in_hook=True)

    def play(self) -> None:
        """Run all plans at once, then end the learner."""
        threads = [threading.Thread(target=self._run, args=(plan,), daemon=True) for plan in self.plans]
        for thread in threads:
            thread.start()
        until = time.monotonic() + PATIENCE
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            raise AssertionError(f"seed {self.seed}: a call hangs")
        end = threading.Thread(target=self._end, daemon=True)
        end.start()
        end.join(PATIENCE)
        if end.is_alive():
            raise AssertionError(f"seed {self.seed}: it does not end")
        if self.errors:
            raise AssertionError(f"seed {self.seed}: {self.errors[0]}")

    def _run(self, plan: list[tuple[str, float]]) -> None:
        for method, pause in plan:
            time.sleep(pause)
            self.call(method)

    def _end(self) -> None:
        self.call("finish")
        self.hook_rate = 0.0
        if not self.failing:
            observed = self.learner.status()
            if observed.seen != self.accepted:
                self.errors.append(f"{self.accepted} frames were accepted, but {observed.seen} seen")
            if not self.closing and observed.waiting > self.learner._queue.unlearned:
                self.errors.append("frames wait after the end")
        self.call("close")
        thread = self.learner._thread
        if thread is not None and thread.is_alive():
            self.errors.append("the thread lives on")


@contextmanager
def _hasty_switches() -> Iterator[None]:
    """Let threads take turns as often as Python allows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def play(seed: int) -> Play:
    """Play one random game.

    Raises:
        AssertionError: a call hangs, or its outcome is not allowed; names the seed.
    """
    with tempfile.TemporaryDirectory() as folder, _hasty_switches():
        game = _Game(seed, Path(folder))
        game.play()
    return Play(game.calls, game.refused, game.accepted)
