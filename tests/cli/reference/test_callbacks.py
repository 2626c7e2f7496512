"""Which checkpoints stay, whatever the losses are: the best five that were validated, and always the last."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nerfcl.cli.reference import callbacks
from nerfcl.cli.reference.callbacks import CheckpointKeeper, ChunkKeeper
from nerfcl.training.history import History, Validation
from support.folders import files_in


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run whose checkpoints are empty files."""
    monkeypatch.setattr(callbacks, "save_checkpoint", lambda path, *_, **__: path.touch())
    experiment, prepared = SimpleNamespace(to_plain=dict), SimpleNamespace(model=None, data={})
    return SimpleNamespace(folder=tmp_path, experiment=experiment, prepared=prepared)


def learner(loss: float | None, now: float = 0.0, **where: int) -> Any:
    """A learner that was validated just now, with some loss on the first group; None is not at all."""
    validation = [] if loss is None else [Validation(now, [[-10.0 * math.log10(loss)], [0.0]])]
    return SimpleNamespace(history=History(validation=validation), **where)


def test_of_epochs(run: Any) -> None:
    keeper = CheckpointKeeper(run, {}, monitored=0, before=20, epoch_steps=10)
    kept = []
    for epoch, loss in enumerate([5.0, 1.0, 2.0, 9.0, 8.0, 3.0, 4.0, 7.0, 6.0], 1):
        keeper.on_evaluation(learner(loss, at=10 * epoch))
        kept.append(sorted(keeper.losses))
        assert files_in(run.folder) == {f"epoch={e}.ckpt" for e in keeper.losses}
    assert kept[4:6] == [[21, 22, 23, 24, 25], [21, 22, 23, 25, 26]]
    assert kept[-1] == [21, 22, 23, 26, 27, 29]


def test_of_chunks(run: Any) -> None:
    """Chunks 2, 4, ... are validated; chunk 8 is the best of all."""
    keeper = ChunkKeeper(run, {}, 0)
    kept = []
    for done in range(1, 17):
        keeper.on_experience_end(learner(None if done % 2 else 1.0 + abs(done - 8), done, done=done))
        kept.append(sorted(keeper.losses))
        assert files_in(run.folder) == {f"epoch={epoch}.ckpt" for epoch in kept[-1]}
    assert kept[:4] == [[1], [2], [2, 3], [2, 4]]
    assert kept[10] == [2, 4, 6, 8, 10, 11]
    assert kept[12] == [4, 6, 8, 10, 12, 13]
    assert kept[15] == [4, 6, 8, 10, 12, 16]
