"""Fields: density and colour of points. Each has a module of its own and is listed here."""

from __future__ import annotations

from nerfcl.registry import Registry

# Names -> settings classes, as paths: the command line lists the names without importing torch.
FIELDS = Registry(
    "field",
    {
        "hashgrid": "nerfcl.models.fields.hash_grid:HashGridSettings",
        "nerf": "nerfcl.models.fields.nerf:NerfSettings",
    },
)
