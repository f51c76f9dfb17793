"""Which agents a server serves: those that are named, those of a file, or the one behind `holdfast run`."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from holdfast.cli.run import coder
from holdfast.cli.settings.defaults import settings
from holdfast.cli.tools.finding import CODER, bound_agent_of
from holdfast.cli.tools.importing import imported, importing
from holdfast.errors import UsageError
from holdfast.runtime.bound import BoundAgent
from holdfast.tools.resolving import look_also_in

__all__ = ("served_agents",)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def served_agents(references: Sequence[str], files: Sequence[str]) -> dict[str, BoundAgent]:
    """Returns agents by the names that clients give.

    Their tools are found again by their modules, in this folder and those of the files, so that runs go on after a
    restart.

    Raises:
        UsageError: one cannot be found, cannot be imported, or has another's name; says what to do.
    """
    look_also_in(str(Path.cwd()))
    found: dict[str, BoundAgent] = {}
    for reference in references:
        name, sign, place = reference.rpartition("=")
        agent = _coder() if place == CODER else bound_agent_of(place)
        _add(found, name if sign else _name(agent, place), agent, reference)
    for file in files:
        for name, agent in _agents_in(Path(file)).items():
            _add(found, name, agent, file)
    if not found:
        found[CODER] = _coder()
    return found


def _coder() -> BoundAgent:
    held = settings()
    return coder(held.model, held.limits(), asks=True, thinking=held.thinking)


def _name(agent: BoundAgent, place: str) -> str:
    own = agent.spec.name
    return own if own not in ("", "agent") else place.rpartition(":")[2].rpartition(".")[2]


def _add(found: dict[str, BoundAgent], name: str, agent: BoundAgent, where: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"an agent cannot be called {name!r} (from {where!r}): name it with letters, digits and dashes, as in "
            f"helper={where}"
        )
    if name in found:
        raise UsageError(f"two agents are called {name!r} (the second from {where!r}): name one, as in other={where}")
    found[name] = agent


def _agents_in(path: Path) -> dict[str, BoundAgent]:
    if not path.is_file() or path.suffix != ".py" or not path.stem.isidentifier():
        raise UsageError(f"{str(path)!r} is no file of agents: name a Python file, such as agents.py")
    folder = str(path.resolve().parent)
    look_also_in(folder)
    sys.path.append(folder)  # for good: what it imports later is found, too
    with importing():
        module = imported(str(path), path.stem)
    own = Path(getattr(module, "__file__", None) or "").resolve()
    if own != path.resolve():
        raise UsageError(f"the name of {str(path)!r} is another module's ({str(own)!r}): rename the file")
    agents: dict[str, BoundAgent] = {
        _name(value, name): value
        for name, value in cast(dict[str, BoundAgent], vars(module)).items()
        if isinstance(value, BoundAgent) and not name.startswith("_")  # pyright: ignore[reportUnnecessaryIsInstance]
    }
    if not agents:
        raise UsageError(f"there are no agents in {str(path)!r}: make some, as in helper = Agent(...)")
    return agents
