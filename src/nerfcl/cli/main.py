"""The command line: one flat level of commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from nerfcl.cli import options as config
from nerfcl.errors import NerfclError

_Command = (
    Annotated[config.Run, tyro.conf.subcommand("run", prefix_name=False)]
    | Annotated[config.Compare, tyro.conf.subcommand("compare", prefix_name=False)]
    | Annotated[config.Online, tyro.conf.subcommand("online", prefix_name=False)]
    | Annotated[config.CompareOnline, tyro.conf.subcommand("compare-online", prefix_name=False)]
    | Annotated[config.Evaluate, tyro.conf.subcommand("eval", prefix_name=False)]
    | Annotated[config.MakeScene, tyro.conf.subcommand("make-scene", prefix_name=False)]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the command line without the program's name; None takes the process's own.

    Returns:
        Exit code: 0, or 2 when the user has something to put right, 130 when interrupted.
    """
    command = tyro.cli(
        _Command,  # pyright: ignore[reportArgumentType]
        prog="nerfcl",
        description="Radiance fields that keep learning without forgetting.",
        args=None if arguments is None else list(arguments),
    )
    try:
        from nerfcl.experiments import commands  # here, not above: torch takes seconds to load, --help must not

        commands.execute(command)
    except NerfclError as error:
        print(f"nerfcl: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("nerfcl: interrupted; run the same command again to go on from the last finished task", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
