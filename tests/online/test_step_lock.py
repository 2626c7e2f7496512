"""The lock of a model: readers come in between two training steps, one at a time, and stop nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import torch

from nerfcl.models.rendering.occupancy import OccupancyModelSettings
from nerfcl.online.learner import OnlineLearner
from nerfcl.online.step_lock import StepLock
from nerfcl.scenes.scene import Scene
from online.pushing import RESERVOIR, SETTINGS, learned, push
from support.learning import same
from support.waiting import PATIENCE, in_background, in_time, wait_until


class Reader:
    """Holds a lock for reading, in a thread of its own, until it is told to let go."""

    def __init__(self, lock: StepLock) -> None:
        self.inside, self.leave = threading.Event(), threading.Event()
        queued = len(lock._queue)
        self.thread = in_background(lambda: self.read(lock))
        wait_until(lambda: len(lock._queue) > queued)

    def read(self, lock: StepLock) -> None:
        with lock.read():
            self.inside.set()
            assert self.leave.wait(PATIENCE)


def test_readers_come_in_one_after_the_other_while_nobody_trains() -> None:
    lock = StepLock()
    first, second = Reader(lock), Reader(lock)
    assert first.inside.wait(PATIENCE)
    assert not second.inside.wait(0.05)
    first.leave.set()
    assert second.inside.wait(PATIENCE)
    second.leave.set()
    second.thread.join(PATIENCE)
    assert not lock._queue


def test_readers_wait_for_the_end_of_a_step_and_the_trainer_for_them() -> None:
    lock = StepLock()
    with lock.train():
        lock.between_steps()  # nobody waits
        early = Reader(lock)
        assert not early.inside.wait(0.05), "a step is being taken"
        trainer = in_background(lock.between_steps)
        assert early.inside.wait(PATIENCE)
        late = Reader(lock)
        early.leave.set()
        trainer.join(PATIENCE)
        assert not trainer.is_alive(), "who comes while others are let in does not delay the next step"
        assert not late.inside.wait(0.05)
    assert late.inside.wait(PATIENCE), "training has ended"
    trainer = in_background(lambda: lock.train().__enter__())
    trainer.join(0.05)
    assert trainer.is_alive(), "who reads now ends first"
    late.leave.set()
    trainer.join(PATIENCE)
    assert not trainer.is_alive()


def test_a_reader_that_fails_and_a_trainer_that_fails_free_the_lock() -> None:
    lock = StepLock()

    def fail(training: bool) -> None:
        with lock.train() if training else lock.read():
            raise ZeroDivisionError

    for training in (False, True, False):
        assert isinstance(in_time(lambda training=training: fail(training)), ZeroDivisionError)
    assert not lock._queue


def test_rendering_from_many_threads_neither_stops_nor_changes_the_learning(
    scene: Scene, model: OccupancyModelSettings
) -> None:
    with OnlineLearner(model, RESERVOIR, SETTINGS, seed=4) as quiet:
        push(quiet, scene.train)
    learner = OnlineLearner(model, RESERVOIR, SETTINGS, seed=4)
    done, problems, rendered = threading.Event(), [], [0, 0, 0]

    def render(number: int) -> None:
        camera = scene.test.camera(number)
        try:
            while not done.is_set():
                picture = learner.render(camera)
                assert picture.rgb.shape == (16, 16, 3)
                assert torch.isfinite(picture.rgb).all()
                assert not picture.rgb.requires_grad
                rendered[number] += 1
        except BaseException as error:
            problems.append(error)

    threads = [in_background(lambda number=number: render(number)) for number in range(3)]
    try:
        push(learner, scene.train)
        assert in_time(learner.finish).steps == 15
        wait_until(lambda: min(rendered) > 0)
    finally:
        done.set()
        for thread in threads:
            thread.join(PATIENCE)
        learner.close()
    assert not problems
    assert same(learned(learner), learned(quiet))


PROGRAM = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from nerfcl.online.learner import OnlineLearner
from nerfcl.online.settings import OnlineSettings
from nerfcl.scenes import load_scene
from support.scenes import write_tiny_scene
scene = load_scene(write_tiny_scene(Path(sys.argv[2])))
learner = OnlineLearner.around((0.0, 0.0, 0.0), 2.6, 16, settings=OnlineSettings(rays=64, steps_per_chunk=4))
stop = threading.Event()
def render():
    while not stop.is_set():
        learner.render(scene.test.camera(0))
threads = [threading.Thread(target=render) for _ in range(3)]
for thread in threads:
    thread.start()
for i in range(6):
    learner.observe(scene.train.images[i], scene.train.poses[i], scene.train.intrinsics[i])
learner.finish()
stop.set()
for thread in threads:
    thread.join()
learner.close()
print(learner.status().steps)
"""


def test_viewers_do_no_harm_where_the_kernels_use_several_threads(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(Path(__file__).parents[1]), str(tmp_path / "scene")],
        env={**os.environ, "OMP_NUM_THREADS": "2"}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert (finished.returncode, finished.stdout.strip()) == (0, "12"), finished.stderr[-2000:]
