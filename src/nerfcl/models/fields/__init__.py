"""Fields: density and colour of points. One module each, and a line here."""

from __future__ import annotations

from nerfcl.registry import Registry

# Names -> settings classes, by where they are: the command line lists them without importing torch.
FIELDS = Registry(
    "field",
    {
        "hashgrid": "nerfcl.models.fields.hash_grid:HashGridSettings",
        "nerf": "nerfcl.models.fields.nerf:NerfSettings",
    },
)
