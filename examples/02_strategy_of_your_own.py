"""A strategy in one class: keep every tenth view of the past, and replay as many of its pixels as there are new ones.

python examples/02_strategy_of_your_own.py [--steps 300] [--size 64]
"""

import argparse
from dataclasses import dataclass

import torch

import nerfcl


class KeptViews:  # what changes while learning: checkpoints save it, comparisons count its bytes
    def __init__(self, generator):
        self.generator, self.views = generator, None

    @property
    def nbytes(self):
        return 0 if self.views is None else self.views.images.nbytes

    def state_dict(self):
        return {} if self.views is None else vars(self.views)

    def load_state_dict(self, state):
        self.views = nerfcl.Views(**state) if state else None


@dataclass(frozen=True)
class KeepViews(nerfcl.Strategy):
    """Hyperparameters, and the hooks of the loop that are needed; the others are fine-tuning's."""

    every: int = 10

    def new_state(self, generator):
        return KeptViews(generator)

    def batch(self, state, new):
        if state.views is None:
            return new
        chosen = torch.randint(state.views.pixels, (len(new),), generator=state.generator)
        return new.with_past(nerfcl.pixels_at(state.views, chosen))

    def end(self, state, experience, model):
        kept = [experience.train.select(range(0, len(experience.train), self.every))]
        state.views = nerfcl.Views.concatenate(kept if state.views is None else [state.views, *kept])


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--size", type=int, default=64)
options = parser.parse_args()
scene = nerfcl.load_scene("builtin", size=(options.size, options.size))
stream = nerfcl.make_stream(scene, ["right", "left"])
for strategy in (nerfcl.FineTune(), KeepViews()):
    learner = nerfcl.new_learner(strategy, nerfcl.model_for(scene, seed=0), seed=0)
    history = nerfcl.learn(stream, learner, nerfcl.TrainingSettings(steps=options.steps))
    print(f"{strategy}: {nerfcl.backward_transfer(history.R):+.2f} dB on right, {history.memory_bytes:,} bytes kept")
