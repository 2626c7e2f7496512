"""Migration of saved settings of fields."""

from __future__ import annotations

from typing import Any

from nerfcl.serialisation import KIND


def with_features_per_level(field: Any) -> Any:
    """Complete the settings of a hash grid that version 0.2 saved: its entries had two features."""
    if isinstance(field, dict) and field.get(KIND) == "hashgrid" and "levels" in field:
        return {"features_per_level": 2, **field}
    return field
