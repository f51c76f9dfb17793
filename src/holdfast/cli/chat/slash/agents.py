"""Choosing who answers, of the agents that a server has."""

from __future__ import annotations

from rich.text import Text

from holdfast.cli.chat.slash.session import when
from holdfast.cli.chat.talk import Talk
from holdfast.cli.reaching.agents import chosen
from holdfast.cli.words import model_name, one_line

__all__ = ("set_agent",)


async def set_agent(talk: Talk, argument: str) -> None:
    """Changes who answers what is said next, by name or number, or says who can."""
    terms = talk.conversation.terms
    agents = await talk.conversation.sessions.agents()
    if not argument:
        width = max((len(one_line(each.name, 40)) for each in agents), default=0)
        for number, each in enumerate(agents, 1):
            mark = "●" if each.name == terms.agent else " "
            name, about = f"{one_line(each.name, 40):<{width}}", model_name(each.about)
            talk.view.lines([Text.assemble((f"{mark}{number:>3}  {name}", "cyan"), (f"  {about}", "dim"))])
        talk.view.lines([Text("  agents of the server; /model takes a number or a name", "dim")])
        return
    number = int(argument) if argument.isascii() and argument.isdigit() and len(argument) < 6 else 0
    named = agents[number - 1].name if 1 <= number <= len(agents) else argument
    found = chosen(agents, named)
    terms.agent, terms.model = found.name, found.about
    talk.view.note(f"agent {terms.agent}, model {model_name(terms.model)}{when(talk)}")
