"""Makes attempts inside, one after another, each in a process of its own, and prints what came of each.

Started as `python3 -I -S making.py NAME...` in the workspace. A line of output is JSON: the name, whether it says that
it worked (null where it could not be tried), and what it got.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import files  # noqa: E402 - found only now
import network  # noqa: E402
import processes  # noqa: E402
import resources  # noqa: E402
from knowing import CouldNotTry, Refused, Spec  # noqa: E402

__all__ = ("find", "main")

SECONDS = 20
"""How long one attempt may take."""
_MODULES: tuple[ModuleType, ...] = (files, processes, network, resources)


def find(name: str) -> Callable[[Spec], str]:
    """Returns the attempt of this name."""
    return next(getattr(module, name) for module in _MODULES if hasattr(module, name))


def main(names: list[str]) -> None:
    """Makes these attempts."""
    spec = Spec(**json.loads((HERE / "spec.json").read_text()))
    for name in names:
        ok, evidence = _alone(name, spec)
        print(json.dumps({"name": name, "said": ok, "evidence": evidence[:600]}), flush=True)


def _alone(name: str, spec: Spec) -> tuple[bool | None, str]:
    """Makes one in a child of ours: what the kernel kills for trying does not take the others along."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(SECONDS)
        answer = json.dumps(_attempt(name, spec)).encode()
        os.write(writing, answer[:4000])
        os._exit(0)
    os.close(writing)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.set_blocking(reading, False)
    try:
        answer = os.read(reading, 8192)
    except BlockingIOError:  # somebody it left behind holds the other end
        answer = b""
    os.close(reading)
    if not answer:
        return False, f"killed by signal {-code}" if code < 0 else f"ended with {code}"
    ok, evidence = json.loads(answer)
    return ok, evidence


def _attempt(name: str, spec: Spec) -> tuple[bool | None, str]:
    try:
        return True, find(name)(spec)[:600]
    except CouldNotTry as error:
        return None, f"could not try: {error}"
    except (Refused, OSError, MemoryError) as error:
        return False, str(error)[:600]
    except (ValueError, ImportError, AttributeError, RuntimeError) as error:
        return None, f"could not try: {type(error).__name__}: {error}"[:600]


if __name__ == "__main__":
    main(sys.argv[1:])
