"""How the past is used: one small file each.

A newcomer copies the shortest one, `finetune.py`, and adds one line here: its name and where its class is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from nerfcl.errors import NerfclError

if TYPE_CHECKING:
    from nerfcl.strategies.strategy import Strategy

# Names, not classes: the command line lists them without importing torch.
STRATEGIES = {
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
}


def strategy_class(name: str) -> type[Strategy]:
    """The class of the strategy with this name.

    Raises:
        NerfclError: there is none; lists those there are.
    """
    if name not in STRATEGIES:
        raise NerfclError(f"--strategy {name}: is unknown; strategies are {', '.join(STRATEGIES)}")
    module, _, attribute = STRATEGIES[name].partition(":")
    return getattr(import_module(module), attribute)


def strategy_name(strategy: Strategy) -> str | None:
    """The name under which a strategy's class is known; None if it is not one of nerfcl's own."""
    home = f"{type(strategy).__module__}:{type(strategy).__qualname__}"
    return next((name for name, place in STRATEGIES.items() if place == home), None)
