"""The learner of a camera that does not stop: what it makes of frames, whenever they come and whoever looks on."""

from __future__ import annotations

import copy
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.models.settings import GridModel
from nerfcl.online.learner import Observed, OnlineLearner, OnlineSettings
from nerfcl.scenes import load_scene
from nerfcl.scenes.cameras import Camera
from nerfcl.scenes.scene import Scene, Views
from nerfcl.strategies.agem import AGem
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.replay import Replay, ReplayAll
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.frames import make_trajectory
from nerfcl.streams.pixels import Pixels
from nerfcl.training.learner import new_learner
from nerfcl.training.loop import learn

SETTINGS = OnlineSettings(chunk_frames=2, steps_per_chunk=5, rays=64, average=0.8)
STRATEGIES = [
    Replay(memory_rays=100, memory_fill="reservoir"),
    Replay(memory_rays=100, memory_fill="highest", memory_draw="weighted", update_losses=True),
    ReplayAll(),
    AGem(memory_rays=80),
    FineTune(),
]
PATIENCE = 60.0  # seconds; a hang fails, it does not hang the suite


@pytest.fixture(scope="module")
def scene(shared_scene: Path) -> Scene:
    return load_scene(shared_scene)


@pytest.fixture(scope="module")
def model(scene: Scene) -> GridModel:
    return GridModel.for_scene(scene, finest=16)


def show(learner: OnlineLearner, views: Views, numbers: range | None = None) -> Observed:
    """Hands over frames, over and over where there are more numbers than views."""
    observed = learner.status()
    for number in range(len(views)) if numbers is None else numbers:
        i = number % len(views)
        observed = learner.observe(views.images[i], views.poses[i], views.intrinsics[i])
    return observed


def end_of(learner: OnlineLearner) -> list[Tensor]:
    """What was learned: the model's parameters, their running mean, and one view."""
    inner = learner._learner
    mean = [] if inner.mean is None else inner.mean.values
    return [*(p.detach().clone() for p in inner.model.parameters()), *(value.clone() for value in mean)]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(one, other) for one, other in zip(a, b, strict=True))


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.005)


def in_time(action: Callable[[], Any]) -> Any:
    """The action's result, or what it raised; fails where it hangs."""
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append(action())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert outcome, "it hangs"
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


@dataclass(frozen=True)
class Gated(FineTune):
    """Fine-tuning that takes as many steps as it is given."""

    steps: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def batch(self, state: Any, new: Pixels) -> Pixels:
        assert self.steps.acquire(timeout=PATIENCE)
        return new


# --- what is learned ---


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: type(strategy).__name__)
@pytest.mark.parametrize("frames", [6, 5])
def test_it_equals_the_loop_on_the_same_unannounced_stream(
    strategy: Strategy, frames: int, scene: Scene, model: GridModel
) -> None:
    stream = make_trajectory(scene, "file", 2, frames)
    plain = new_learner(strategy, lambda: model.build(7, "cpu"), 7)
    history = learn(stream, plain, replace(SETTINGS.training, evaluate_every=99, frame_every=99, score_every=99))
    with OnlineLearner(model, strategy, SETTINGS, seed=7) as learner:
        show(learner, scene.train, range(frames))
        observed = learner.finish()
    assert plain.mean is not None
    assert same(end_of(learner), [*plain.model.parameters(), *plain.mean.values])
    assert observed == Observed(
        seen=frames, waiting=0, dropped=0, kept=observed.kept, steps=15, memory_bytes=history.memory_bytes
    )
    assert observed.kept == (0 if isinstance(strategy, FineTune) else plain.state.memory.frames)
    camera = scene.test.camera(0)
    assert torch.equal(learner.render(camera).rgb, render_by(plain.shown, camera))


def render_by(shown: Any, camera: Camera) -> Tensor:
    from nerfcl.models.rendering.model import render_image

    return render_image(shown, camera).rgb


def test_the_result_does_not_depend_on_when_frames_come(scene: Scene, model: GridModel) -> None:
    ends, rng = [], random.Random(0)
    for pause in (0.0, 0.03):
        with OnlineLearner(model, STRATEGIES[1], replace(SETTINGS, queue_frames=2), seed=1) as learner:
            for i in range(len(scene.train)):
                show(learner, scene.train, range(i, i + 1))
                time.sleep(pause * rng.random())
        ends.append(end_of(learner))
    assert same(*ends)
    with OnlineLearner(model, STRATEGIES[1], SETTINGS, seed=1) as learner:
        show(learner, scene.train.select([1, 0, 2, 3, 4, 5]))
    assert not same(ends[0], end_of(learner)), "but it does on their order"


def test_views_are_learned(scene: Scene) -> None:
    settings = replace(SETTINGS, steps_per_chunk=40, rays=128)
    with OnlineLearner.around((0.0, 0.0, 0.0), 2.6, 16, settings=settings) as learner:
        camera, truth = scene.train.camera(5), scene.train.images[5].float() / 255.0
        before = (learner.render(camera).rgb - truth).square().mean()
        show(learner, scene.train)
    after = (learner.render(camera).rgb - truth).square().mean()
    assert after < 0.1 * before


# --- what observe says ---


def test_observe_says_what_became_of_the_frames(scene: Scene, model: GridModel) -> None:
    strategy = Gated()
    with OnlineLearner(model, strategy, SETTINGS) as learner:
        assert learner.status() == Observed(0, 0, 0, 0, 0, 0)
        assert show(learner, scene.train, range(1)) == Observed(1, 1, 0, 0, 0, 0)
        show(learner, scene.train, range(1, 5))
        wait_until(lambda: len(learner._waiting) == 3)  # a chunk of two is in flight
        assert learner.status() == Observed(5, 5, 0, 0, 0, 0)
        strategy.steps.release(7)
        wait_until(lambda: learner.status().steps == 7)
        assert learner.status() == Observed(5, 3, 0, 0, 7, 0)
        strategy.steps.release(99)


def test_what_is_kept_is_counted(scene: Scene, model: GridModel) -> None:
    with OnlineLearner(model, ReplayAll(), SETTINGS) as learner:
        show(learner, scene.train)
        observed = learner.finish()
    # 6 frames of 16 x 16 pixels of 11 bytes, and 76 bytes for each camera
    assert observed == Observed(6, 0, 0, 6, 15, 6 * (256 * 11 + 76))
    assert replace(learner.status(), full=False) == observed


def test_a_full_queue_blocks_until_there_is_room(scene: Scene, model: GridModel) -> None:
    strategy = Gated()
    with OnlineLearner(model, strategy, replace(SETTINGS, queue_frames=3)) as learner:
        show(learner, scene.train, range(2))
        wait_until(lambda: not learner._waiting)
        assert [show(learner, scene.train, range(i, i + 1)).full for i in (2, 3, 4)] == [False] * 3
        late: list[Observed] = []
        thread = threading.Thread(target=lambda: late.append(show(learner, scene.train, range(5, 6))), daemon=True)
        thread.start()
        time.sleep(0.2)
        assert not late, "it blocks"
        assert learner.status().seen == 5
        strategy.steps.release(5)  # the chunk in flight is learned, the next two are taken
        thread.join(PATIENCE)
        assert (late[0].seen, late[0].dropped, late[0].full) == (6, 0, True)
        strategy.steps.release(99)
    assert learner.status() == Observed(6, 0, 0, 0, 15, 0)


def test_a_full_queue_drops_the_oldest_and_counts(scene: Scene, model: GridModel) -> None:
    strategy = Gated()
    settings = replace(SETTINGS, queue_frames=2, when_full="drop-oldest")
    with OnlineLearner(model, strategy, settings, seed=2) as learner:
        show(learner, scene.train, range(2))
        wait_until(lambda: not learner._waiting)
        assert not show(learner, scene.train, range(2, 4)).full
        observed = show(learner, scene.train, range(4, 5))
        assert (observed.seen, observed.waiting, observed.dropped, observed.full) == (5, 4, 1, True)
        observed = show(learner, scene.train, range(5, 6))
        assert (observed.seen, observed.waiting, observed.dropped, observed.full) == (6, 4, 2, True)
        strategy.steps.release(99)
    assert learner.status() == Observed(6, 0, 2, 0, 10, 0)
    with OnlineLearner(model, FineTune(), SETTINGS, seed=2) as other:
        show(other, scene.train.select([0, 1, 4, 5]))
    assert same(end_of(learner), end_of(other)), "frames 2 and 3 were never learned"


# --- what is refused ---


def broken_frames() -> dict[str, Callable[[Any, Any, Any], tuple[Any, Any, Any]]]:
    turn = np.diag([2.0, 2.0, 2.0, 1.0]).astype(np.float32)
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0]).astype(np.float32)

    def put(array: np.ndarray, place: Any, value: float) -> np.ndarray:
        changed = array.astype(np.float64)
        changed[place] = value
        return changed

    return {
        "NaN in the pose": lambda i, p, k: (i, put(p, (1, 3), np.nan), k),
        "infinite pose": lambda i, p, k: (i, put(p, (0, 3), np.inf), k),
        "pose beyond single precision": lambda i, p, k: (i, put(p, (0, 3), 1e300), k),
        "no rotation": lambda i, p, k: (i, p @ turn, k),
        "a mirror": lambda i, p, k: (i, p @ mirror, k),
        "zeros": lambda i, p, k: (i, p * 0.0, k),
        "3x4 pose": lambda i, p, k: (i, p[:3], k),
        "no pose": lambda i, _, k: (i, None, k),
        "pose of words": lambda i, _, k: (i, "here", k),
        "wider": lambda i, p, k: (np.concatenate([i, i], 1), p, k),
        "lower": lambda i, p, k: (i[:8], p, k),
        "empty": lambda i, p, k: (i[:0], p, k),
        "nothing": lambda _, p, k: (np.zeros((0, 0, 3), np.uint8), p, k),
        "floats": lambda i, p, k: (i.astype(np.float32) / 255.0, p, k),
        "signed": lambda i, p, k: (i.astype(np.int16), p, k),
        "grey": lambda i, p, k: (i[..., 0], p, k),
        "RGBA": lambda i, p, k: (np.concatenate([i, i[..., :1]], -1), p, k),
        "no image": lambda _, p, k: (None, p, k),
        "three intrinsics": lambda i, p, k: (i, p, k[:3]),
        "NaN in the intrinsics": lambda i, p, k: (i, p, put(k, 2, np.nan)),
        "focal length 0": lambda i, p, k: (i, p, put(k, 0, 0.0)),
        "negative focal length": lambda i, p, k: (i, p, put(k, 1, -5.0)),
        "a matrix": lambda i, p, _: (i, p, np.eye(3)),
    }


def test_refused_frames_change_nothing(scene: Scene, model: GridModel) -> None:
    parts = scene.train.images[0].numpy(), scene.train.poses[0].numpy(), scene.train.intrinsics[0].numpy()
    given = copy.deepcopy(parts)
    with (
        OnlineLearner(model, STRATEGIES[0], SETTINGS) as learner,
        OnlineLearner(model, STRATEGIES[0], SETTINGS) as twin,
    ):
        for i in range(len(scene.train)):
            assert show(learner, scene.train, range(i, i + 1)).seen == show(twin, scene.train, range(i, i + 1)).seen
            for name, spoil in broken_frames().items():
                with pytest.raises(NerfclError, match=f"frame {i + 1}") as caught:
                    learner.observe(*spoil(*parts))
                assert "\n" not in str(caught.value), name
                assert learner.status().seen == i + 1, name
    assert replace(learner.status(), full=False) == replace(twin.status(), full=False)
    assert same(end_of(learner), end_of(twin))
    assert all(np.array_equal(a, b) for a, b in zip(parts, given, strict=True))


def test_a_refused_first_frame_does_not_decide_the_size(scene: Scene, model: GridModel) -> None:
    with OnlineLearner(model, FineTune(), SETTINGS) as learner:
        with pytest.raises(NerfclError, match="rotation"):
            learner.observe(np.zeros((5, 5, 3), np.uint8), np.ones((4, 4)), np.ones(4))
        assert show(learner, scene.train, range(2)).seen == 2


def test_frames_are_copied(scene: Scene, model: GridModel) -> None:
    ends = []
    for spoil in (False, True):
        strategy = Gated()
        with OnlineLearner(model, strategy, SETTINGS) as learner:
            for i in range(2):
                parts = [part[i].numpy().copy() for part in (scene.train.images, scene.train.poses,
                                                             scene.train.intrinsics)]  # fmt: skip
                learner.observe(*parts)
                for part in parts if spoil else []:
                    part[...] = 7
            strategy.steps.release(99)
        ends.append(end_of(learner))
    assert same(*ends)


@dataclass(frozen=True)
class NeedsBoundaries(Strategy):
    needs_boundaries: ClassVar[bool] = True


def test_strategies_that_need_boundaries_are_refused(model: GridModel) -> None:
    with pytest.raises(NerfclError, match="NeedsBoundaries"):
        OnlineLearner(model, NeedsBoundaries())


@pytest.mark.parametrize(
    ("knobs", "needle"),
    [
        ({"chunk_frames": 0}, "chunk_frames=0"),
        ({"steps_per_chunk": 0}, "steps_per_chunk=0"),
        ({"rays": 0}, "rays=0"),
        ({"queue_frames": 1, "chunk_frames": 2}, "queue_frames=1"),
        ({"when_full": "explode"}, "when_full=explode"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(knobs: dict[str, Any], needle: str) -> None:
    with pytest.raises(NerfclError, match=needle):
        OnlineSettings(**knobs)


# --- rendering meanwhile ---


def test_rendering_from_many_threads_neither_stops_nor_changes_the_learning(scene: Scene, model: GridModel) -> None:
    with OnlineLearner(model, STRATEGIES[0], SETTINGS, seed=4) as quiet:
        show(quiet, scene.train)
    learner = OnlineLearner(model, STRATEGIES[0], SETTINGS, seed=4)
    done, problems, rendered = threading.Event(), [], [0, 0, 0]

    def look(number: int) -> None:
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

    threads = [threading.Thread(target=look, args=(number,), daemon=True) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        show(learner, scene.train)
        in_time(learner.finish)
        wait_until(lambda: min(rendered) > 0)
    finally:
        done.set()
        for thread in threads:
            thread.join(PATIENCE)
        learner.close()
    assert not problems
    assert same(end_of(learner), end_of(quiet))


PROGRAM = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from conftest import write_tiny_scene
from nerfcl.scenes import load_scene
from nerfcl.online.learner import OnlineLearner, OnlineSettings
scene = load_scene(write_tiny_scene(Path(sys.argv[2])))
learner = OnlineLearner.around((0.0, 0.0, 0.0), 2.6, 16, settings=OnlineSettings(rays=64, steps_per_chunk=4))
stop = threading.Event()
def look():
    while not stop.is_set():
        learner.render(scene.test.camera(0))
threads = [threading.Thread(target=look) for _ in range(3)]
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


def test_viewers_do_no_harm_where_parallel_kernels_bear_one_caller_only(tmp_path: Path) -> None:
    # numba's own threads, all there is on some machines, end the program when two threads call at once.
    layer = {"NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2"}
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(tmp_path / "scene")],
        env={**os.environ, **layer}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (finished.returncode, finished.stdout.strip()) == (0, "12"), finished.stderr[-2000:]


def test_an_untrained_field_renders(scene: Scene, model: GridModel) -> None:
    learner = OnlineLearner(model, FineTune())
    assert torch.isfinite(learner.render(scene.test.camera(0), rays_per_pixel=4).rgb).all()
    learner.close()


# --- saving ---


class Stepwise:
    """Lets a learner take so many steps and no more, whatever its strategy, by holding its door."""

    def __init__(self, learner: OnlineLearner, steps: int) -> None:
        self.learner, self.steps, self.go = learner, steps, threading.Event()
        door, let_in = learner._door, learner._door.let_others_in

        def hold() -> None:
            if learner._learner.history.steps == steps and not self.go.is_set():
                door.__dict__["held"] = True
                wait_until(lambda: bool(door._queue) or self.go.is_set())
            let_in()

        door.let_others_in = hold  # type: ignore[method-assign]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: type(strategy).__name__)
@pytest.mark.parametrize("steps", [3, 5, 7])
def test_what_was_saved_within_a_stream_goes_on_exactly(
    strategy: Strategy, steps: int, scene: Scene, model: GridModel, tmp_path: Path
) -> None:
    path = tmp_path / "learner.pt"
    learner = OnlineLearner(model, strategy, SETTINGS, seed=5)
    Stepwise(learner, steps)
    show(learner, scene.train, range(5))
    wait_until(lambda: learner.status().steps == steps)
    in_time(lambda: learner.save(path))  # lets it go on
    show(learner, scene.train, range(5, 6))
    in_time(learner.finish)
    learner.close()
    loaded = OnlineLearner.load(path)
    assert type(loaded._learner.strategy) is type(strategy)
    assert loaded._learner.strategy == strategy
    assert loaded.settings == SETTINGS
    assert loaded.status().seen == 5
    with loaded:
        show(loaded, scene.train, range(5, 6))
        assert in_time(loaded.finish) == replace(learner.status(), full=False)
    assert same(end_of(loaded), end_of(learner))


def test_a_loaded_learner_says_what_the_saved_one_said(scene: Scene, model: GridModel, tmp_path: Path) -> None:
    learner = OnlineLearner(model, ReplayAll(), SETTINGS)
    show(learner, scene.train, range(5))
    wait_until(lambda: learner.status().steps == 10 and learner.status().waiting == 1)
    before = learner.status()
    learner.save(tmp_path / "learner.pt")
    learner.close()
    loaded = OnlineLearner.load(tmp_path / "learner.pt")
    assert loaded.status() == before
    camera = scene.test.camera(1)
    assert torch.equal(loaded.render(camera).rgb, learner.render(camera).rgb)
    with pytest.raises(NerfclError, match="16x16"):
        loaded.observe(np.zeros((8, 8, 3), np.uint8), np.eye(4), np.ones(4))
    loaded.close()


def test_closing_ends_within_a_chunk_and_what_is_saved_then_goes_on_exactly(
    scene: Scene, model: GridModel, tmp_path: Path
) -> None:
    with OnlineLearner(model, STRATEGIES[0], SETTINGS) as straight:
        show(straight, scene.train)
    learner = OnlineLearner(model, STRATEGIES[0], replace(SETTINGS, steps_per_chunk=5))
    Stepwise(learner, 8)
    show(learner, scene.train)
    wait_until(lambda: "held" in learner._door.__dict__)
    threading.Timer(0.05, lambda: learner.render(scene.test.camera(0))).start()
    in_time(learner.close)
    assert 8 <= learner.status().steps <= 9
    learner.save(tmp_path / "learner.pt")
    with OnlineLearner.load(tmp_path / "learner.pt") as loaded:
        pass
    assert same(end_of(loaded), end_of(straight))


def test_autosave_writes_after_every_chunk(scene: Scene, model: GridModel, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "latest.pt"
    with OnlineLearner(model, STRATEGIES[0], SETTINGS, autosave=path) as learner:
        show(learner, scene.train, range(2))
        wait_until(path.exists)
        first = OnlineLearner.load(path)
        assert (first.status().seen, first.status().steps) == (2, 5)
        show(learner, scene.train, range(2, 4))
    with OnlineLearner.load(path) as loaded:
        assert (loaded.status().seen, loaded.status().steps) == (4, 10)
    assert same(end_of(loaded), end_of(learner))
    with first:
        show(first, scene.train, range(2, 4))
    assert same(end_of(first), end_of(learner))


@dataclass(frozen=True)
class Homemade(Replay):
    """A strategy of the user's own."""

    anything: Any = None


def test_a_strategy_of_ones_own_is_given_again_where_it_is_loaded(
    scene: Scene, model: GridModel, tmp_path: Path
) -> None:
    path, strategy = tmp_path / "learner.pt", Homemade(memory_rays=50, anything=lambda: 0)
    with OnlineLearner(model, strategy, SETTINGS, autosave=tmp_path / "auto.pt") as learner:
        show(learner, scene.train, range(2))
        learner.finish()
        learner.save(path)
        show(learner, scene.train, range(2, 4))
    for saved in (path, tmp_path / "auto.pt"):
        with pytest.raises(NerfclError, match="strategy of your own"):
            OnlineLearner.load(saved)
    with OnlineLearner.load(path, strategy) as loaded:
        show(loaded, scene.train, range(2, 4))
    assert same(end_of(loaded), end_of(learner))


def test_files_that_are_no_learner_are_refused(scene: Scene, model: GridModel, tmp_path: Path) -> None:
    from nerfcl.training.checkpoints import save_checkpoint

    with pytest.raises(NerfclError, match="no such"):
        OnlineLearner.load(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(NerfclError, match=r"text\.pt"):
        OnlineLearner.load(tmp_path / "text.pt")
    save_checkpoint(tmp_path / "run.pt", new_learner(FineTune(), lambda: model.build(0, "cpu"), 0), {"seed": 0}, model)
    with pytest.raises(NerfclError, match="checkpoint of a run"):
        OnlineLearner.load(tmp_path / "run.pt")


def test_a_place_that_cannot_be_written_is_an_error_and_learning_goes_on(
    scene: Scene, model: GridModel, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with OnlineLearner(model, FineTune(), SETTINGS) as learner:
        show(learner, scene.train, range(2))
        with pytest.raises(NerfclError, match="cannot be written"):
            learner.save(tmp_path / "file" / "learner.pt")
        show(learner, scene.train, range(2, 4))
    assert learner.status().steps == 10


# --- ends ---


def test_finish_learns_an_incomplete_chunk_and_frames_may_follow(scene: Scene, model: GridModel) -> None:
    with OnlineLearner(model, FineTune(), SETTINGS) as learner:
        assert learner.finish().steps == 0
        show(learner, scene.train, range(3))
        assert (learner.finish().steps, learner.status().waiting) == (10, 0)
        show(learner, scene.train, range(3, 4))
        assert learner.finish() == Observed(4, 0, 0, 0, 15, 0)


def test_after_closing_frames_are_refused_and_views_still_rendered(scene: Scene, model: GridModel) -> None:
    learner = OnlineLearner(model, FineTune(), SETTINGS)
    show(learner, scene.train, range(3))
    wait_until(lambda: learner.status().steps == 5)
    learner.close()
    learner.close()
    with pytest.raises(NerfclError, match="closed"):
        show(learner, scene.train, range(1))
    assert learner.status().seen == 3
    with pytest.raises(NerfclError, match="closed"):
        in_time(learner.finish)  # a frame waits that nobody will learn
    assert torch.isfinite(learner.render(scene.test.camera(0)).rgb).all()


def test_closing_frees_who_is_blocked_by_a_full_queue(scene: Scene, model: GridModel) -> None:
    strategy = Gated()
    learner = OnlineLearner(model, strategy, replace(SETTINGS, queue_frames=2))
    show(learner, scene.train, range(2))
    wait_until(lambda: not learner._waiting)
    show(learner, scene.train, range(2, 4))
    problems: list[BaseException] = []

    def push() -> None:
        try:
            show(learner, scene.train, range(4, 5))
        except NerfclError as error:
            problems.append(error)

    thread = threading.Thread(target=push, daemon=True)
    thread.start()
    time.sleep(0.05)
    threading.Timer(0.05, lambda: strategy.steps.release(99)).start()
    in_time(learner.close)
    thread.join(PATIENCE)
    assert len(problems) == 1
    assert "closed" in str(problems[0])
    assert learner.status().seen == 4


def test_leaving_by_an_error_does_not_learn_what_waits(scene: Scene, model: GridModel) -> None:
    learner = OnlineLearner(model, FineTune(), SETTINGS)

    def fail() -> None:
        with learner:
            show(learner, scene.train, range(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_time(fail)
    assert learner.status().steps == 0


def test_a_learner_that_was_closed_within_its_block_is_left_quietly(scene: Scene, model: GridModel) -> None:
    def use() -> None:
        with OnlineLearner(model, FineTune(), SETTINGS) as learner:
            show(learner, scene.train, range(1))
            learner.close()

    in_time(use)


@dataclass(frozen=True)
class Failing(FineTune):
    def batch(self, state: Any, new: Pixels) -> Pixels:
        raise RuntimeError("the disk of the strategy is full")


def test_an_error_in_the_strategy_is_raised_at_the_next_frame(scene: Scene, model: GridModel) -> None:
    learner = OnlineLearner(model, Failing(), SETTINGS)
    show(learner, scene.train, range(2))
    wait_until(lambda: learner._error is not None)
    for action in (lambda: show(learner, scene.train, range(1)), learner.finish, learner.status):
        with pytest.raises(NerfclError, match="learning failed: the disk of the strategy is full") as caught:
            in_time(action)
        assert isinstance(caught.value.__cause__, RuntimeError)
    in_time(learner.close)


def test_an_error_frees_who_waits(scene: Scene, model: GridModel) -> None:
    with (
        pytest.raises(NerfclError, match="learning failed"),
        OnlineLearner(model, Failing(), replace(SETTINGS, queue_frames=2)) as learner,
    ):
        in_time(lambda: show(learner, scene.train, range(60)))
