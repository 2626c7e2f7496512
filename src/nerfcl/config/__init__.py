"""The one description of an experiment: what every command builds, what is executed, and what is saved."""

from __future__ import annotations

from nerfcl.registry import Registry

# Names -> settings of streams, by where they are.
STREAMS = Registry(
    "stream",
    {
        "tasks": "nerfcl.config.streams:TaskStream",
        "frames": "nerfcl.config.streams:FrameStream",
        "watched": "nerfcl.config.streams:WatchedStream",
        "pushed": "nerfcl.config.streams:PushedStream",
    },
)
