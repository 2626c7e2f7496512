"""The reference project's command lines train.py, train_online.py and eval.py, on nerfcl's own loop, strategies and
fields."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence

from nerfcl.cli.reference.options import (
    check_eval,
    check_online,
    check_train,
    eval_parser,
    online_parser,
    spell,
    train_parser,
)
from nerfcl.errors import NerfclError


def train_main(arguments: Sequence[str] | None = None) -> int:
    """Run train.py.

    Args:
        arguments: the command line without the program's name; None takes the process's own.

    Returns:
        Exit code: 0 on success, 2 on an error that the user can fix, 130 if interrupted.
    """

    def run(options: Namespace) -> None:
        check_train(options)
        from nerfcl.cli.reference.train import run  # a late import: torch takes seconds to load, which --help must not

        run(options)

    how = "the same command resumes from the last checkpoint in ckpts/"
    return _main("train.py", run, train_parser().parse_args(arguments), how)


def online_main(arguments: Sequence[str] | None = None) -> int:
    """Run train_online.py; see `train_main`."""

    def run(options: Namespace) -> None:
        check_online(options)
        from nerfcl.cli.reference.online import run

        run(options)

    how = "the same command without --resume resumes from the last finished chunk in ckpts/"
    return _main("train_online.py", run, online_parser().parse_args(arguments), how)


def eval_main(arguments: Sequence[str] | None = None) -> int:
    """Run eval.py; see `train_main`."""

    def run(options: Namespace) -> None:
        check_eval(options)
        from nerfcl.cli.reference.evaluate import run

        run(options)

    return _main("eval.py", run, eval_parser().parse_args(arguments), "the same command starts over")


def _main(program: str, run: Callable[[Namespace], None], options: Namespace, how_to_go_on: str) -> int:
    try:
        run(options)
    except NerfclError as error:
        print(f"{program}: {error.spelled(spell)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted; {how_to_go_on}", file=sys.stderr)
        return 130
    return 0
