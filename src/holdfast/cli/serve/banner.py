"""What is shown when a server has begun to listen, and when it begins to end."""

from __future__ import annotations

from typing import final

import click
import msgspec
from rich.text import Text

from holdfast import __version__
from holdfast.cli.choosing.knowing import key_found
from holdfast.cli.serve.planning import Plan
from holdfast.cli.settings.defaults import settings
from holdfast.cli.terminal import open_console
from holdfast.cli.words import one_line, printable, seconds

__all__ = ("Banner",)

_SHOWN = 8
"""Agents that are shown, each on a line."""


@final
class Banner:
    """Says where a server is, whom it serves and with what."""

    def __init__(self, plan: Plan, url: str, doors: tuple[bool, str]) -> None:
        self._plan = plan
        self._url = url
        self._open, self._token = doors

    def started(self) -> None:
        """Shows it."""
        if self._plan.output == "json":
            told = {
                "event": "listening",
                "url": self._url,
                "version": __version__,
                "agents": {name: agent.spec.model for name, agent in self._plan.agents.items()},
                "open_to_all": self._open,
                "setup_token": self._token,
                "store": self._plan.url,
                "warnings": self._missing(),
            }
            click.echo(msgspec.json.encode(told))
            return
        console = open_console(plain=settings().plain)
        console.print(
            Text.assemble(("● ", "green"), (f"Holdfast {__version__}", "bold"), " at ", (self._url, "cyan")),
            soft_wrap=True,
        )
        for name, text in self._lines():
            console.print(Text.assemble((f"  {name:<8}", "dim"), text), soft_wrap=True)
        for warning in self._missing():
            console.print(Text(f"  note     {warning}", "yellow"), soft_wrap=True)
        console.print(Text("  Ctrl-C ends it: open runs stay open, and go on when it is started again.", "dim"))

    def ending(self) -> None:
        """Says that it ends."""
        if self._plan.output == "json":
            click.echo(msgspec.json.encode({"event": "ending"}))
            return
        grace = seconds(self._plan.config.bounds.grace)
        click.echo(f"ending: what is under way has {grace}; a second Ctrl-C leaves at once", err=True)

    def _missing(self) -> list[str]:
        """Returns a line for each agent whose model cannot be asked from here, as far as that shows before it is."""
        found: list[str] = []
        for name, agent in self._plan.agents.items():
            named = [each.strip() for each in agent.spec.model.split(",")]
            keys = [key_found(each) if "/" in each else None for each in named]  # an alias may mean any
            if agent.own is None and all(key is not None and key.there is False for key in keys):
                words = f"{keys[0].words if keys[0] else ''}: prompts to {name} fail before {named[0]} is asked"
                found.append(one_line(printable(words), 200))
        return found

    def _lines(self) -> list[tuple[str, Text]]:
        agents = list(self._plan.agents.items())
        shown = [(name, one_line(printable(agent.spec.model), 60)) for name, agent in agents[:_SHOWN]]
        rows = [
            ("agents" if not at else "", Text.assemble((name, "bold"), "  ", (model, "dim")))
            for at, (name, model) in enumerate(shown)
        ]
        if len(agents) > _SHOWN:
            rows.append(("", Text(f"and {len(agents) - _SHOWN} more", "dim")))
        if self._open:
            said = "none: this machine alone is served, and everybody on it may do everything"
            rows.append(("keys", Text(said, "yellow")))
            rows.append(("", Text("holdfast serve keys create makes the first", "dim")))
        else:
            rows.append(("keys", Text("on: everybody says who they are", "green")))
        if self._token:
            rows.append(("set-up", Text.assemble(self._token, ("  makes the first user", "dim"))))
        base = self._url if self._plan.place.unix is None else ""
        rows.append(("docs", Text(f"{base}/docs")))
        rows.append(("store", Text(self._plan.url)))
        return rows
