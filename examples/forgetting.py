"""Right, then left, from Python: what is forgotten with a memory of 20,480 rays, and what it looks like.

python examples/forgetting.py [--steps 300]
"""

from __future__ import annotations

import argparse

import nerfcl

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=300)
steps = parser.parse_args().steps

scene = nerfcl.load_scene("builtin", size=(64, 64))
stream = nerfcl.make_stream(scene, ["right", "left"])
strategy = nerfcl.Replay(memory_rays=20_480)
learner = nerfcl.new_learner(strategy, nerfcl.model_for(scene, seed=0), seed=0)
history = nerfcl.learn(stream, learner, nerfcl.TrainingSettings(steps=steps))

for task, row in zip(stream, history.R, strict=True):
    figures = ", ".join(f"{other.name} {psnr:.2f} dB" for other, psnr in zip(stream, row, strict=True))
    print(f"after {task.name}: {figures}")
print(f"kept of the past: {history.memory_bytes / 1024:.0f} KB")

picture = nerfcl.render_image(learner.model, scene.test.camera(0))
print(f"a test view from any camera: colours {tuple(picture.rgb.shape)}, depth {tuple(picture.depth.shape)}")
