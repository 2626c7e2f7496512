"""How a field becomes pixels: what a model is to everyone else, and the renderers that make one of a field."""

from __future__ import annotations

from nerfcl.registry import Registry

# Names -> settings classes of models: how a field is rendered.
MODELS = Registry(
    "model",
    {
        "occupancy": "nerfcl.models.rendering.occupancy:OccupancyModelSettings",
        "hierarchical": "nerfcl.models.rendering.hierarchical:HierarchicalModelSettings",
    },
)
