"""Starts commands below the process that serves them, so that no signal of theirs reaches it.

One that is stopped hears neither the end of its channel nor that it is asked to end, and what it started goes on. In
namespaces the kernel sees to it; here each command is put into a Landlock domain of its own, which its signals do not
leave, however they are sent.

Loaded by the launcher: the standard library and `sandbox/kernel/` only.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from holdfast.sandbox.confining.ending import Children
from holdfast.sandbox.kernel import landlock

__all__ = ("Commands",)

_AS_THEY_WERE = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT)


class Commands(Children):
    """The children of the first process of a sandbox, which are its commands and what those leave behind."""

    def start(
        self, program: str, argv: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int]
    ) -> int:
        """Starts a program with these for its input, output and errors, and returns its number.

        Raises:
            OSError: it cannot be started.
        """
        reading, writing = os.pipe()
        try:
            if (pid := os.fork()) == 0:
                _become(program, argv, environment, descriptors, writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        with open(reading, "rb") as said:
            if reason := said.read():
                os.waitpid(pid, 0)
                raise OSError(int(reason), os.strerror(int(reason)), program)
        return pid


def _become(
    program: str, argv: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int], failed: int
) -> NoReturn:
    """Goes on as the command; where that fails, the reason's number is written there."""
    try:
        os.setsid()
        landlock.keep_signals()
        for place, each in enumerate(descriptors):
            os.dup2(each, place)
        for each in _AS_THEY_WERE:
            signal.signal(each, signal.SIG_DFL)
        os.execve(program, list(argv), environment)
    except BaseException as error:  # noqa: BLE001 - boundary: nothing may go on as the first process in here
        with suppress(OSError):
            os.write(failed, str(getattr(error, "errno", None) or 22).encode())
    finally:
        os._exit(127)
