"""What every program does around its work: errors on one line, signals, and output that nobody reads."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Any, TextIO

from nerfcl.errors import Argument, NerfclError

FAILED = 2
_OF_MEMORY = ("can't allocate memory", "out of memory")  # in what PyTorch raises
_NAMES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
if hasattr(signal, "SIGHUP"):
    _NAMES[signal.SIGHUP] = "terminated, since its terminal was closed"


class Stopped(KeyboardInterrupt):
    """A signal that ends the program."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def check_unicode(arguments: Sequence[str]) -> None:
    """Reject arguments with bytes that are no UTF-8, which neither JSON nor pictures can hold.

    Raises:
        NerfclError: names the first.
    """
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise NerfclError(f"{argument!a}: is not valid Unicode (UTF-8); use another name") from None


def run_program(name: str, work: Callable[[], Any], spell: Callable[[Argument], str], how_to_resume: str) -> int:
    """Run a program's work.

    Standard output may be closed early, as by `| head`: the work goes on in silence.

    Args:
        name: name of the program, for messages.
        work: the work.
        spell: formats an argument in an error message as the flag that sets it.
        how_to_resume: what to do after an interruption.

    Returns:
        Exit code: 0 on success, 2 on an error that the user can fix, 128 + the number of a signal that ended it.
    """
    with ExitStack() as stack:
        output = stack.enter_context(_tolerant("stdout"))
        errors = stack.enter_context(_tolerant("stderr"))
        stack.enter_context(_quiet_threads())
        try:
            with _signals_as_exceptions():
                work()
        except NerfclError as error:
            print(f"{name}: {error.spelled(spell)}", file=errors)
            return FAILED
        except Stopped as stop:
            print(f"{name}: {_NAMES[signal.Signals(stop.number)]}; {how_to_resume}", file=errors)
            return 128 + stop.number
        except KeyboardInterrupt:
            print(f"{name}: interrupted; {how_to_resume}", file=errors)
            return 128 + signal.SIGINT
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not any(words in str(error) for words in _OF_MEMORY):
                raise
            print(f"{name}: not enough memory; use smaller images, or fewer rays in a step", file=errors)
            return FAILED
        except OSError as error:
            place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
            print(f"{name}: {place}{error.strerror or error}; check the path and its permissions", file=errors)
            return FAILED
        output.flush()
        if output.error is not None and not isinstance(output.error, BrokenPipeError):
            why = output.error.strerror or output.error
            print(f"{name}: the work is done, but standard output cannot be written ({why})", file=errors)
            return FAILED
    return 0


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Raise `Stopped` on signals, so that what is open is closed; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    # A signal that is ignored, as by nohup, stays so.
    taken = [number for number in _NAMES if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, stop) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _quiet_threads() -> Iterator[None]:
    """Print no traceback of a file's error in a thread: that of TensorBoard hands it on to the next call as well."""
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if not issubclass(arguments.exc_type, OSError):
            before(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


@contextmanager
def _tolerant(name: str) -> Iterator[_Tolerant]:
    """Replace sys.stdout or sys.stderr by a stream that never fails."""
    stream = getattr(sys, name)
    replaced = _Tolerant(stream)
    setattr(sys, name, replaced)
    try:
        yield replaced
    finally:
        replaced.flush()
        setattr(sys, name, stream)


class _Tolerant:
    """A text stream that falls silent where another would fail, and remembers why.

    Attributes:
        error: the first error; None so far.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.error: OSError | None = None
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):  # file names may hold what the terminal's encoding does not
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        with self._silence():
            if self._stream is not None:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._silence():
            if self._stream is not None:
                self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _silence(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error
            # What is still buffered must have somewhere to go, or Python complains at its end.
            with suppress(OSError, ValueError):
                assert self._stream is not None
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
                self._stream.flush()
