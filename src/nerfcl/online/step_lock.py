"""Who may use a model when: its trainer within a step, others between two."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class StepLock:
    """Lets readers use the model between two training steps, never within one, and one at a time: not every way that
    kernels run in parallel bears to be called from two threads. Who comes while others are let in waits for the next
    step, so that training goes on however many come."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._admitted: list[object] = []
        self._training = False

    @contextmanager
    def train(self) -> Iterator[None]:
        """Hold the model for training; readers are let in by `between_steps`."""
        with self._changed:
            self._training = True
            self._let_in()
        try:
            yield
        finally:
            with self._changed:
                self._training = False
                self._changed.notify_all()

    def between_steps(self) -> None:
        """Let in the readers that wait now, and wait until they are gone."""
        with self._changed:
            if self._queue:
                self._let_in()

    @contextmanager
    def read(self) -> Iterator[None]:
        """Hold the model for reading."""
        me = object()
        try:
            with self._changed:
                self._queue.append(me)
                self._changed.wait_for(lambda: self._queue[0] is me and (not self._training or me in self._admitted))
            yield
        finally:
            with self._changed:
                self._queue.remove(me)
                self._changed.notify_all()

    def _let_in(self) -> None:
        self._admitted = list(self._queue)
        self._changed.notify_all()
        self._changed.wait_for(lambda: not any(reader in self._queue for reader in self._admitted))
