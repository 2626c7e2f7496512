"""Who may use a model when: its learner within a step, others between two."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Lets visitors see the model between two training steps, never within one, and one at a time: not every way that
    kernels run in parallel bears to be called from two threads. Who comes while others are let in waits for the next
    step, so that learning goes on however many come."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._admitted: list[object] = []
        self._working = False

    @contextmanager
    def work(self) -> Iterator[None]:
        with self._changed:
            self._working = True
            self._let_in()
        try:
            yield
        finally:
            with self._changed:
                self._working = False
                self._changed.notify_all()

    def let_others_in(self) -> None:
        with self._changed:
            if self._queue:
                self._let_in()

    def _let_in(self) -> None:
        self._admitted = list(self._queue)
        self._changed.notify_all()
        self._changed.wait_for(lambda: not any(visitor in self._queue for visitor in self._admitted))

    @contextmanager
    def visit(self) -> Iterator[None]:
        me = object()
        try:
            with self._changed:
                self._queue.append(me)
                self._changed.wait_for(lambda: self._queue[0] is me and (not self._working or me in self._admitted))
            yield
        finally:
            with self._changed:
                self._queue.remove(me)
                self._changed.notify_all()
