"""Ranking lines or files by how near they are to a query, and showing it."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.text import Text

from holdfast.cli.embedding.reading import Piece, read_pieces
from holdfast.cli.settings.defaults import settings
from holdfast.cli.terminal import LiveLine, open_console
from holdfast.cli.words import count, money, one_line
from holdfast.models.embedding.finding import find_embedder
from holdfast.models.embedding.port import Embedder
from holdfast.models.embedding.ranking import Ranking, rank
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED

__all__ = ("show_ranking",)


def show_ranking(query: str, files: tuple[str, ...], model: str, *, by_line: bool, top: int, output: str) -> None:
    """Prints the `top` pieces of the files that are nearest to a query, as text or as `json`.

    Raises:
        UsageError: a file cannot be read, or nobody goes by the model's name.
        ModelError: the vectors could not be made.
    """
    client = HttpClient(TRUSTED)
    embedder = find_embedder(model, client, os.environ)
    embedder.check()  # before it is read what may be long
    pieces, skipped = read_pieces(files or ("-",), by_line=by_line)
    aside = open_console(stderr=True, plain=settings().plain)
    for name in skipped:
        aside.print(Text(f"! {one_line(name)} holds no text and was left out", "yellow"), soft_wrap=True)
    ranking = asyncio.run(_rank(embedder, client, query, pieces, top, aside)) if pieces else None
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(_as_data(query, embedder.name, pieces, ranking))))
        return
    if ranking is None:
        aside.print(Text("There is no text in what was given", "dim"))
        return
    _print(open_console(plain=settings().plain), pieces, ranking)
    what = count(len(pieces), "line" if by_line else "file")
    aside.print(Text(f"\n{len(ranking.nearest):,} of {what} · {_spent(ranking)}", "dim"), soft_wrap=True)


async def _rank(
    embedder: Embedder, client: HttpClient, query: str, pieces: list[Piece], top: int, aside: Console
) -> Ranking:
    line = LiveLine(aside)

    def further(done: int, total: int) -> None:
        line.figures = lambda: (f"{done:,} of {total:,}",)

    async with client:
        with line:
            line.show(f"embedding with {embedder.name}")
            return await rank(embedder, query, [piece.text for piece in pieces], top=top, progress=further)


def _as_data(query: str, model: str, pieces: list[Piece], ranking: Ranking | None) -> dict[str, Any]:
    nearest = [] if ranking is None else ranking.nearest
    usage = None if ranking is None else ranking.usage
    return {
        "query": query,
        "model": model,
        "texts": len(pieces),
        "ranked": [
            {"score": round(each.score, 6), "file": piece.file, "line": piece.line or None, "text": _gist(piece)}
            for each in nearest
            for piece in (pieces[each.index],)
        ],
        "tokens": usage.input_tokens if usage else None if ranking else 0,
        "cost": ranking.cost if ranking else 0,
    }


def _spent(ranking: Ranking) -> str:
    if ranking.cost == 0:
        return f"{ranking.model} · free"
    tokens = "tokens unknown" if ranking.usage is None else count(ranking.usage.input_tokens, "token")
    return f"{ranking.model} · {tokens} · {money(ranking.cost)}"


def _print(console: Console, pieces: list[Piece], ranking: Ranking) -> None:
    """Prints the table; each text is one line, on a terminal no longer than it is wide."""
    several = len({piece.file for piece in pieces}) > 1
    rows = [(each, pieces[each.index]) for each in ranking.nearest]
    places = [_place(piece, several=several) for _, piece in rows]
    head = "where" if several or not pieces[0].line else "line"
    width = max(len(place) for place in (head, *places))
    console.print(Text(f"score  {head:<{width}}  text", "dim"), no_wrap=True, overflow="ignore", crop=False)
    for (each, piece), place in zip(rows, places, strict=True):
        score = Text(f"{each.score:5.2f}", "green" if each.score >= 0.5 else "" if each.score > 0 else "dim")
        said = one_line(_gist(piece), 400 if console.is_terminal else 4000)
        line = Text.assemble(score, "  ", (f"{place:<{width}}", "cyan"), "  ", said)
        if console.is_terminal:
            line.truncate(console.width, overflow="ellipsis")
        console.print(line, no_wrap=True, overflow="ignore", crop=False)


def _gist(piece: Piece) -> str:
    """Returns the line, or a file's first one: whoever wants more of a file has its name."""
    return piece.text if piece.line else piece.text.partition("\n")[0].rstrip()


def _place(piece: Piece, *, several: bool) -> str:
    name = one_line(piece.file, 60)
    if not piece.line:
        return name
    return f"{name}:{piece.line}" if several else str(piece.line)
