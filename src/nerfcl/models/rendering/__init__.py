"""Rendering of fields: the interface of a model, and the renderers that turn a field into one."""

from __future__ import annotations

from nerfcl.registry import Registry

# Names of renderers -> settings classes of their models.
MODELS = Registry(
    "model",
    {
        "occupancy": "nerfcl.models.rendering.occupancy:OccupancyModelSettings",
        "hierarchical": "nerfcl.models.rendering.hierarchical:HierarchicalModelSettings",
    },
)
