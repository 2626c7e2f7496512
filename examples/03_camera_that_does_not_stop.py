"""A camera walks around a scene and does not stop: frames go in, any view comes out, and what was saved goes on.

python examples/03_camera_that_does_not_stop.py [--frames 100] [--steps-per-chunk 32] [--size 64]
"""

import argparse
import tempfile
from pathlib import Path

import nerfcl

parser = argparse.ArgumentParser()
parser.add_argument("--frames", type=int, default=100)
parser.add_argument("--steps-per-chunk", type=int, default=32)
parser.add_argument("--size", type=int, default=64)
options = parser.parse_args()

scene = nerfcl.load_scene("builtin", size=(options.size, options.size))
stream = nerfcl.make_trajectory(scene, order="nearest", chunk_frames=1, frames=options.frames)
camera = [(frame.train.images[0], frame.train.poses[0], frame.train.intrinsics[0]) for frame in stream]
half = len(camera) // 2


def mean_psnr(learner):
    return nerfcl.evaluate(learner.evaluated_model, scene.test.first(20), ssim=False).mean_psnr


with tempfile.TemporaryDirectory() as folder:
    saved = Path(folder) / "map.pt"
    settings = nerfcl.OnlineSettings(chunk_frames=2, steps_per_chunk=options.steps_per_chunk)
    with nerfcl.OnlineLearner.around((0.0, 0.0, 0.0), 2.9, options.size, settings=settings) as learner:
        for image, world_from_camera, intrinsics in camera[:half]:
            learner.observe(image, world_from_camera, intrinsics)  # returns at once; learning goes on in a thread
        learner.finish()
        print(f"half of the way: {mean_psnr(learner):.2f} dB on test views from all around")
        learner.save(saved)

    with nerfcl.OnlineLearner.load(saved) as learner:  # another process, another day
        for frame in camera[half:]:
            learner.observe(*frame)
        observed = learner.finish()
        print(f"all of the way: {mean_psnr(learner):.2f} dB")
        print(f"{observed.seen} frames, {observed.steps} steps, {observed.memory_bytes / 1024:.0f} KB kept of the past")
