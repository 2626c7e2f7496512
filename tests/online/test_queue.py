"""Frames that wait to be learned: what is said of them, and what becomes of those that find the queue full."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from nerfcl.errors import NerfclError
from nerfcl.models.rendering.occupancy import OccupancyModelSettings
from nerfcl.online.learner import OnlineLearner
from nerfcl.online.settings import Observed
from nerfcl.scenes.scene import Scene
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.replay import ReplayAll
from online.pushing import SETTINGS, Gated, learned, push
from support.learning import same
from support.waiting import PATIENCE, in_background, in_time, wait_until


def test_observe_says_what_became_of_the_frames(scene: Scene, model: OccupancyModelSettings) -> None:
    strategy = Gated()
    with OnlineLearner(model, strategy, SETTINGS) as learner:
        assert learner.status() == Observed(0, 0, 0, 0, 0, 0)
        assert push(learner, scene.train, [0]) == Observed(1, 1, 0, 0, 0, 0)
        push(learner, scene.train, range(1, 5))
        wait_until(lambda: len(learner._queue._waiting) == 3)  # a chunk of two is in flight
        assert learner.status() == Observed(5, 5, 0, 0, 0, 0)
        strategy.steps.release(7)
        wait_until(lambda: learner.status().steps == 7)
        assert learner.status() == Observed(5, 3, 0, 0, 7, 0)
        strategy.steps.release(99)


def test_what_is_kept_is_counted(scene: Scene, model: OccupancyModelSettings) -> None:
    with OnlineLearner(model, ReplayAll(), SETTINGS) as learner:
        push(learner, scene.train)
        observed = learner.finish()
    # 6 frames of 16 x 16 pixels of 11 bytes, and 76 bytes for each camera
    assert observed == Observed(6, 0, 0, 6, 15, 6 * (256 * 11 + 76))
    assert replace(learner.status(), full=False) == observed


def test_a_full_queue_blocks_until_there_is_room(scene: Scene, model: OccupancyModelSettings) -> None:
    strategy = Gated()
    with OnlineLearner(model, strategy, replace(SETTINGS, queue_frames=3)) as learner:
        push(learner, scene.train, range(2))
        wait_until(lambda: not learner._queue._waiting)
        assert [push(learner, scene.train, [i]).full for i in (2, 3, 4)] == [False] * 3
        late: list[Observed] = []
        thread = in_background(lambda: late.append(push(learner, scene.train, [5])))
        time.sleep(0.2)
        assert not late, "it blocks"
        assert learner.status().seen == 5
        strategy.steps.release(5)  # the chunk in flight is learned, the next two are taken
        thread.join(PATIENCE)
        assert (late[0].seen, late[0].dropped, late[0].full) == (6, 0, True)
        strategy.steps.release(99)
    assert learner.status() == Observed(6, 0, 0, 0, 15, 0)


def test_a_full_queue_drops_the_oldest_and_counts(scene: Scene, model: OccupancyModelSettings) -> None:
    strategy = Gated()
    settings = replace(SETTINGS, queue_frames=2, when_full="drop-oldest")
    with OnlineLearner(model, strategy, settings, seed=2) as learner:
        push(learner, scene.train, range(2))
        wait_until(lambda: not learner._queue._waiting)
        assert not push(learner, scene.train, range(2, 4)).full
        assert push(learner, scene.train, [4]) == Observed(5, 4, 1, 0, 0, 0, full=True)
        assert push(learner, scene.train, [5]) == Observed(6, 4, 2, 0, 0, 0, full=True)
        strategy.steps.release(99)
    assert learner.status() == Observed(6, 0, 2, 0, 10, 0)
    with OnlineLearner(model, FineTune(), SETTINGS, seed=2) as other:
        push(other, scene.train, [0, 1, 4, 5])
    assert same(learned(learner), learned(other)), "frames 2 and 3 were never learned"


def test_closing_frees_who_is_blocked_by_a_full_queue(scene: Scene, model: OccupancyModelSettings) -> None:
    strategy = Gated()
    learner = OnlineLearner(model, strategy, replace(SETTINGS, queue_frames=2))
    push(learner, scene.train, range(2))
    wait_until(lambda: not learner._queue._waiting)
    push(learner, scene.train, range(2, 4))
    refusals: list[str] = []

    def push_another() -> None:
        try:
            push(learner, scene.train, [4])
        except NerfclError as error:
            refusals.append(str(error))

    thread = in_background(push_another)
    time.sleep(0.05)
    threading.Timer(0.05, lambda: strategy.steps.release(99)).start()
    assert in_time(learner.close) is None
    thread.join(PATIENCE)
    assert refusals == ["this learner is closed; create a new one, or load a saved one"]
    assert learner.status().seen == 4


def test_frames_are_copied(scene: Scene, model: OccupancyModelSettings) -> None:
    ends = []
    for spoil in (False, True):
        strategy = Gated()
        with OnlineLearner(model, strategy, SETTINGS) as learner:
            for i in range(2):
                views = scene.train
                parts = [part[i].numpy().copy() for part in (views.images, views.poses, views.intrinsics)]
                learner.observe(*parts)
                for part in parts if spoil else []:
                    part[...] = 7
            strategy.steps.release(99)
        ends.append(learned(learner))
    assert same(*ends)
