"""Strategies: how the past is used, one small module each.

To add one, copy the shortest, `finetune.py`, and list its name and the path of its class here.
"""

from __future__ import annotations

from nerfcl.registry import Registry

# Paths, not classes: the command line lists the names without importing torch.
STRATEGIES = Registry(
    "strategy",
    {
        "finetune": "nerfcl.strategies.finetune:FineTune",
        "replay": "nerfcl.strategies.replay:Replay",
        "replay-all": "nerfcl.strategies.replay:ReplayAll",
        "replay-images": "nerfcl.strategies.replay_images:ReplayImages",
        "replay+": "nerfcl.strategies.replay_plus:ReplayPlus",
        "distill": "nerfcl.strategies.distill:Distill",
        "generative": "nerfcl.strategies.generative:Generative",
        "generative-free": "nerfcl.strategies.generative_free:GenerativeFree",
        "soft-targets": "nerfcl.strategies.soft_targets:SoftTargetRegularization",
        "ewc": "nerfcl.strategies.ewc:Ewc",
        "mas": "nerfcl.strategies.mas:Mas",
        "agem": "nerfcl.strategies.agem:AGem",
        "joint": "nerfcl.strategies.joint:Joint",
    },
)
