"""What loading a scene that is damaged says."""

from __future__ import annotations

from pathlib import Path

import pytest

from nerfcl.errors import NerfclError
from nerfcl.scenes import load_scene


def refusal(data: str | Path, size: tuple[int, int] | None = None, *, spheric_poses: bool = False) -> str:
    """The one line with which a scene is refused."""
    with pytest.raises(NerfclError) as caught:
        load_scene(data, size, spheric_poses=spheric_poses)
    message = str(caught.value)
    assert message.strip()
    assert "\n" not in message
    return message
