"""Strategies side by side at equal bytes: a table, pictures and a web page.

python examples/05_compare_at_equal_bytes.py [--steps 300] [--size 64] [--seeds 1] [--out outputs/equal-bytes]
"""

import argparse
from pathlib import Path

import nerfcl

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--size", type=int, default=64)
parser.add_argument("--seeds", type=int, default=1)
parser.add_argument("--out", type=Path, default=Path("outputs/equal-bytes"))
options = parser.parse_args()

strategies = {
    "fine-tuning": nerfcl.FineTune(),
    "rays": nerfcl.Replay(),
    "rays where there is contrast": nerfcl.Replay(nerfcl.RayMemorySettings(fill="contrast")),
    "images": nerfcl.ReplayImages(),
    "snapshot": nerfcl.Generative(),
    "joint": nerfcl.Joint(),
}
comparison = nerfcl.Comparison(
    experiment=nerfcl.Experiment(
        scene=nerfcl.SceneSettings(data="builtin", size=(options.size, options.size)),
        stream=nerfcl.TaskStream(tasks=("right", "left")),
        training=nerfcl.TrainingSettings(steps=options.steps),
    ),
    configurations=tuple(nerfcl.Configuration(label, strategy) for label, strategy in strategies.items()),
    seeds=tuple(range(options.seeds)),
    budgets=(64 * 1024, 256 * 1024),  # memories that have a size are run once for each
)
for run in nerfcl.compare(comparison, options.out):
    right_before, right_after = run["R"][0][0], run["R"][1][0]
    print(f"{run['strategy']}: {right_after - right_before:+.2f} dB on right, {run['memory_bytes'] / 1024:.0f} KB kept")
