"""Radiance fields that keep learning without forgetting.

Example:
    >>> import nerfcl
    >>> scene = nerfcl.load_scene("builtin", size=(16, 16))
    >>> stream = nerfcl.make_stream(scene, ["right", "left"])
    >>> strategy = nerfcl.Replay(nerfcl.RayMemorySettings(rays=20_480))
    >>> learner = nerfcl.new_learner(strategy, nerfcl.model_for(scene, seed=0), seed=0)
    >>> history = nerfcl.learn(stream, learner, nerfcl.TrainingSettings(steps=2))
    >>> len(history.R)  # [[right, left] after right, [right, left] after left], in dB
    2
"""

from __future__ import annotations

import os
from typing import Any

import lazy_loader

# torch's threads spin for milliseconds after each parallel loop and starve the kernels' own; sleeping at once costs a
# wake-up in every loop. Spinning for about ten microseconds is the compromise. It must be set before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# The names are listed in __init__.pyi and imported on first use, so that `import nerfcl` stays fast.
_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("nerfcl")
    return _load(name)
