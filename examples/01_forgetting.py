"""Right, then left: what is forgotten with a memory of 20,480 rays, and what it looks like.

python examples/01_forgetting.py [--steps 300] [--size 64]
"""

import argparse

import nerfcl

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--size", type=int, default=64)
options = parser.parse_args()

scene = nerfcl.load_scene("builtin", size=(options.size, options.size))
stream = nerfcl.make_stream(scene, ["right", "left"])
strategy = nerfcl.Replay(nerfcl.RayMemorySettings(rays=20_480))
learner = nerfcl.new_learner(strategy, nerfcl.model_for(scene, seed=0), seed=0)
history = nerfcl.learn(stream, learner, nerfcl.TrainingSettings(steps=options.steps))

for task, row in zip(stream, history.R, strict=True):
    values = ", ".join(f"{other.name} {psnr:.2f} dB" for other, psnr in zip(stream, row, strict=True))
    print(f"after {task.name}: {values}")
print(f"forgetting: {nerfcl.forgetting(history.R):+.2f} dB; kept of the past: {history.memory_bytes / 1024:.0f} KB")

picture = nerfcl.render_image(learner.evaluated_model, scene.test.camera(0))
print(f"a test view from any camera: colours {tuple(picture.rgb.shape)}, depth {tuple(picture.depth.shape)}")
