"""The description of an experiment: commands build it, runs execute it, and files store it."""

from __future__ import annotations

from nerfcl.registry import Registry

# Names -> paths of the settings of streams.
STREAMS = Registry(
    "stream",
    {
        "tasks": "nerfcl.config.streams:TaskStream",
        "frames": "nerfcl.config.streams:FrameStream",
        "watched": "nerfcl.config.streams:WatchedStream",
        "pushed": "nerfcl.config.streams:PushedStream",
    },
)
