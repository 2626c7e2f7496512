"""Migration of checkpoints of earlier formats. Descriptions of experiments are migrated in `nerfcl.config`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nerfcl.errors import NerfclError
from nerfcl.models.fields.migration import with_features_per_level

_FORMAT_2 = "nerfcl checkpoint 2"
_FORMAT_3 = "nerfcl checkpoint 3"
_OLDER = "nerfcl checkpoint"


def migrated(content: Any, path: Path) -> Any:
    """Convert the content of a checkpoint to the current format; return anything else unchanged.

    Raises:
        NerfclError: the checkpoint is older than version 0.1.
    """
    if not isinstance(content, dict) or not str(content.get("format", "")).startswith(_OLDER):
        return content
    if content["format"] == _FORMAT_2:
        content = _from_2(content)
    if content["format"] == _FORMAT_3:
        content = _from_3(content)
    if content["format"] < _FORMAT_2:
        raise NerfclError(f"{path}: was written before version 0.1 and cannot be read any more; train again")
    return content


def with_opacity_weight(training: Any) -> Any:
    """Complete the training settings that version 0.2 saved: the opacity was not part of the loss."""
    optimiser = training.get("optimiser") if isinstance(training, dict) else None
    if isinstance(optimiser, dict) and "weight_decay" in optimiser:
        return {**training, "optimiser": {"opacity_weight": 0.0, **optimiser}}
    return training


def _from_2(content: dict[str, Any]) -> dict[str, Any]:
    stream = content["run"].get("stream") or {}
    extra = {name: stream[name] for name in ("in_flight", "frames", "seen", "dropped", "size") if name in stream}
    return {
        "format": _FORMAT_3,
        "experiment": None,
        "options": content["run"],
        "extra": extra,
        "model_settings": _model_settings(content["model_settings"]),
        "model": _model_state(content["model"]),
        "strategy_state": _renamed(content["strategy_state"], {"passes": "sampler"}),
        "history": _history(content["history"]),
        "ema": content.get("mean"),
        "sampler": content["order"],
        **{name: content[name] for name in ("done", "at", "epochs", "optimiser", "generator")},
    }


def _from_3(content: dict[str, Any]) -> dict[str, Any]:
    """Leave out settings of a sampler that visited every step in occupied cells, and complete a hash grid's."""
    settings = content.get("model_settings")
    if isinstance(settings, dict) and isinstance(settings.get("occupancy"), dict):
        kept = {name: value for name, value in settings["occupancy"].items() if name not in ("warm_up", "coarse")}
        settings = {**settings, "occupancy": kept, "field": with_features_per_level(settings.get("field"))}
    return {**content, "format": "nerfcl checkpoint 4", "model_settings": settings}


def _model_settings(saved: dict[str, Any]) -> dict[str, Any]:
    old = saved["settings"]
    shared = {"background": list(old["background"]), "ndc": old.get("ndc")}
    if saved["field"] == "nerf":
        sampling = dict(old["sampling"])
        near, far = sampling.pop("near"), sampling.pop("far")
        return {"kind": "hierarchical", "field": {"kind": "nerf", **sampling}, "near": near, "far": far, **shared}
    field = dict(old["field"])
    field["base_resolution"], field["max_resolution"] = field.pop("coarsest"), field.pop("finest")
    names = {"occupied": "occ_threshold", "least_light": "early_stop_eps"}
    return {
        "kind": "occupancy",
        "field": {"kind": "hashgrid", **field},
        "box": {"lower": list(old["box"]["lower"]), "side": old["box"]["side"]},
        "occupancy": _renamed(old["occupancy"], names),
        **shared,
    }


def _model_state(state: dict[str, Any]) -> dict[str, Any]:
    renamed = _renamed(state, {"thickness": "occupancy"})
    if "_extra_state" in renamed:
        names = {"occupied": "occ_threshold", "inner": "bounds"}
        renamed["_extra_state"] = _renamed(renamed["_extra_state"], names)
    return renamed


def _history(old: dict[str, Any]) -> dict[str, Any]:
    history = _renamed(old, {"scored": "tested", "pictures": "renderings"})
    curve, looks = history.pop("curve"), history.pop("looks")
    history["validation"] = [(at, psnr) for (at, _), psnr in zip(curve, looks, strict=True)]
    return history


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """Rename keys of nested dicts."""
    if not isinstance(value, dict):
        return value
    return {names.get(key, key): _renamed(part, names) for key, part in value.items()}
