"""Images and poses from a program of your own, without files: here a ball over nothing, ray traced with numpy.

python examples/04_own_frames_and_poses.py [--steps 300] [--size 64]
"""

import argparse
import math

import numpy as np
import torch

import nerfcl

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--size", type=int, default=64)
options = parser.parse_args()
SIZE = options.size
INTRINSICS = (1.5 * SIZE, 1.5 * SIZE, SIZE / 2, SIZE / 2)  # fx, fy, cx, cy in pixels


def photograph(world_from_camera):
    """(SIZE, SIZE, 3) uint8, what the camera sees: a ball of radius 1, coloured by its normals, on white."""
    fx, fy, cx, cy = INTRINSICS
    x, y = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    rays = np.stack([(x - cx) / fx, (cy - y) / fy, -np.ones_like(x)], -1)  # OpenGL axes: right, up, backward
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True) @ world_from_camera[:3, :3].T
    origin = world_from_camera[:3, 3]
    middle = -(rays @ origin)
    inside = 1.0 - (origin @ origin - middle**2)
    normals = origin + (middle - np.sqrt(np.maximum(inside, 0.0)))[..., None] * rays
    return (255.0 * np.where(inside[..., None] > 0.0, 0.5 + 0.5 * normals, 1.0)).round().astype(np.uint8)


frames = []
for i in range(60):
    angle, height = 2.4 * i, -0.8 + 1.6 * i / 59
    flat = 4.0 * math.sqrt(1.0 - height**2)
    position = torch.tensor([flat * math.cos(angle), flat * math.sin(angle), 4.0 * height])
    pose = nerfcl.look_at(position, target=torch.zeros(3), up=torch.tensor([0.0, 0.0, 1.0]))
    frames.append((torch.from_numpy(photograph(pose.numpy())), pose, torch.tensor(INTRINSICS)))
images, poses, intrinsics = (torch.stack(part) for part in zip(*frames, strict=True))
views = nerfcl.Views(images, poses, intrinsics, tuple(f"frame {i}" for i in range(len(images))))

test, val = range(0, 60, 8), range(4, 60, 8)
train = [i for i in range(60) if i not in {*test, *val}]
box = nerfcl.Box.around((0.0, 0.0, 0.0), side=2.5)
scene = nerfcl.Scene("ball", views.select(train), views.select(val), views.select(test), (1.0, 1.0, 1.0), box)

stream = nerfcl.make_stream(scene, ["right", "left"])
learner = nerfcl.new_learner(nerfcl.ReplayImages(), nerfcl.model_for(scene, seed=0), seed=0)
history = nerfcl.learn(stream, learner, nerfcl.TrainingSettings(steps=options.steps))
print("R (dB on right, left):", [[round(psnr, 2) for psnr in row] for row in history.R])
