"""A lock for a model in training: readers use it only between two training steps."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class StepLock:
    """Admits readers between two training steps, one at a time, since not every threading backend of the kernels is
    thread-safe. Readers that arrive while others are admitted wait for the next step, so that they cannot starve
    training. A thread that holds the lock, for training or reading, may read again."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._admitted: list[object] = []
        self._training = False
        self._mine = threading.local()

    @property
    def is_held(self) -> bool:
        """Whether this thread holds the lock."""
        return getattr(self._mine, "held", False)

    @contextmanager
    def train(self) -> Iterator[None]:
        """Hold the lock for training; `between_steps` admits readers."""
        with self._changed:
            self._training = True
            self._let_in()
        self._mine.held = True
        try:
            yield
        finally:
            self._mine.held = False
            with self._changed:
                self._training = False
                self._changed.notify_all()

    def between_steps(self) -> None:
        """Admit the readers waiting now, and wait until they are done."""
        with self._changed:
            if self._queue:
                self._let_in()

    @contextmanager
    def read(self) -> Iterator[None]:
        """Hold the lock for reading."""
        if self.is_held:
            yield
            return
        me = object()
        try:
            with self._changed:
                self._queue.append(me)
                self._changed.wait_for(lambda: self._queue[0] is me and (not self._training or me in self._admitted))
            self._mine.held = True
            yield
        finally:
            self._mine.held = False
            with self._changed:
                self._queue.remove(me)
                self._changed.notify_all()

    def _let_in(self) -> None:
        self._admitted = list(self._queue)
        self._changed.notify_all()
        self._changed.wait_for(lambda: not any(reader in self._queue for reader in self._admitted))
