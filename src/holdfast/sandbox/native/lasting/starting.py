"""Starts a command in a sandbox, with what programs in there are to find and with its output led to us."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from holdfast.sandbox.environment import CALL
from holdfast.sandbox.native.boxes.box import Box, Command
from holdfast.sandbox.native.boxes.outlet import environment
from holdfast.sandbox.output import Intake

__all__ = ("given_in", "start_in")


def given_in(box: Box, env: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of programs in a sandbox: what is given, what it sets, and the way out of it."""
    outside = {} if box.outlet is None else {**environment(), **box.outlet.placeholders}
    return {**env, **box.variables, **outside}


async def start_in(
    box: Box,
    argv: Sequence[str],
    env: Mapping[str, str],
    folder: str,
    intake: Intake,
    *,
    errors: bool = True,
    keep: bool = False,
    besides: tuple[int, Intake] | None = None,
) -> Command:
    """Starts a command whose output goes to `intake`; `errors` says whether standard error is part of it. `besides`
    is what it reads from, a descriptor, and where its errors come in then.

    Raises:
        FileNotFoundError, SandboxError, ValueError: as `Box.begin` and `Box.begun` do.
    """
    try:
        nothing, writing = box.nothing, intake.writing
        reading, failing = (nothing, writing) if besides is None else (besides[0], besides[1].writing)
        if os.geteuid() == 0:  # so that programs may open /dev/stdout and /dev/stderr
            os.fchown(writing, box.user, -1)
            if failing != writing:
                os.fchown(failing, box.user, -1)
        descriptors = [reading, writing, failing if errors else nothing]
        command = box.begin(argv, {**env, CALL: "sandbox"}, folder, descriptors, keep=keep)
    finally:
        for each in (intake,) if besides is None else (intake, besides[1]):
            each.started()
            each.begin()
    return await box.begun(command)
