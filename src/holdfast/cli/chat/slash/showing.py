"""Commands that show and change nothing."""

from __future__ import annotations

from rich.text import Text

from holdfast.cli.chat.talk import Talk
from holdfast.cli.rendering.figures import percent
from holdfast.cli.words import count, money, one_line

__all__ = ("cost", "tools")


async def cost(talk: Talk, argument: str) -> None:
    """Shows what the session cost and how full the model's window is."""
    figures, terms = talk.conversation.figures, talk.conversation.terms
    usage, window = figures.usage, figures.window(figures.model or terms.model)
    cached = f", {usage.cache_read_tokens:,} of them from the cache" if usage.cache_read_tokens else ""
    most = "at most " if usage.estimated else ""
    runs = count(figures.runs + (figures.run is not None), "run")
    rows = [
        ("session", f"{money(figures.cost, most=usage.estimated)} in {runs}"),
        ("in", f"{most}{count(usage.input_tokens, 'token')}{cached}"),
        ("out", f"{most}{count(usage.output_tokens, 'token')}"),
    ]
    if figures.run is not None:
        spent = money(figures.run.cost, most=figures.run.usage.estimated)
        rows.insert(1, ("this run", f"{spent} in {count(figures.run.steps, 'step')}"))
    of = f" of {window:,} tokens, {percent(figures.context / window)}" if window else ""
    rows.append(("context", f"{figures.context:,}{of or ' tokens; how many the model takes is not known'}"))
    limit = terms.limits.dollars
    rows.append(("limit", f"${limit:g} for each run" if limit else "none on dollars; start with --max-dollars for one"))
    talk.view.lines([Text.assemble((f"  {name:<9}", "dim"), what) for name, what in rows])


async def tools(talk: Talk, argument: str) -> None:
    """Shows what the agent can do."""
    found = await talk.conversation.sessions.tools(talk.conversation.terms)
    if not found:
        talk.view.note("it has no tools")
        return
    width = max(len(tool.name) for tool in found) + 2
    rows = [
        Text.assemble((f"  {tool.name:<{width}}", "cyan"), one_line(tool.about.partition(". ")[0], 200))
        for tool in found
    ]
    talk.view.lines(rows)
