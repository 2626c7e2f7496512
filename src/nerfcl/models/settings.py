"""Models for a scene: field settings -> model settings -> an untrained model."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nerfcl.models.fields.field import FieldSettings
from nerfcl.models.fields.hash_grid import HashGridSettings
from nerfcl.models.rendering import MODELS
from nerfcl.models.rendering.model import Model, ModelSettings
from nerfcl.scenes.scene import Scene


def model_settings(scene: Scene, field: FieldSettings | None = None) -> ModelSettings:
    """Return the settings of a model for a scene.

    Args:
        scene: determines the box, the background and what the field derives from the images.
        field: field settings; None is a hash grid with defaults.
    """
    field = HashGridSettings() if field is None else field
    return MODELS[field.renderer].for_scene(field, scene)


def model_for(
    scene: Scene, seed: int = 0, device: torch.device | str = "cpu", field: FieldSettings | None = None
) -> Callable[[], Model]:
    """Return a function that builds untrained models for a scene, all with the same initial values.

    Args:
        scene: the scene to learn.
        seed: determines the initial values.
        device: device to compute on.
        field: field settings; None is a hash grid with defaults.
    """
    settings = model_settings(scene, field)
    return lambda: settings.build(seed, device)
