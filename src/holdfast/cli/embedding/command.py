"""`holdfast embed`: where its commands are, and what they take.

Only that: what makes vectors is loaded when some are made, so that a page of help costs nothing of it.
"""

from __future__ import annotations

import sys

import click

from holdfast.cli.asking.span import Whole
from holdfast.cli.completion.embedders import embedder_names
from holdfast.errors import UsageError

__all__ = ("embed",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=_SETTINGS)
def embed() -> None:
    """Make vectors of texts, and use them.

    A vector says where a text stands among others: what means the like is near. It is enough for looking things up by
    what they are about, and costs far less than asking a model.

    \b
    holdfast embed rank "how do I undo a run" docs/*.md --files
    git log --oneline | holdfast embed rank "fixes a leak" -n 3
    holdfast embed rank "how do I undo a run" docs/*.md -m openai/text-embedding-3-small

    Without --model nobody is asked and nothing is spent: spelling is compared. `rank --help` says who else makes
    vectors.
    """  # noqa: D301 - click's own mark for lines that stay as they are


@embed.command("rank", context_settings=_SETTINGS, short_help="Rank lines or files by how near they are to QUERY.")
@click.argument("query")
@click.argument("files", metavar="[FILE|-]...", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "-m",
    "--model",
    default="hashing",
    show_default=True,
    shell_complete=embedder_names,
    help="Who makes the vectors: provider/model.",
)
@click.option("--lines/--files", "by_line", default=True, help="Rank each line, or each file.  [default: lines]")
@click.option("-n", "--top", default=10, show_default=True, type=Whole(1), help="Show the nearest so many.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def rank_(query: str, files: tuple[str, ...], model: str, by_line: bool, top: int, output: str) -> None:
    """Rank the lines of each FILE, or with --files whole files, by how near they are to QUERY.

    Without a FILE, or where it is -, standard input is read. The nearest come first; a score of 1 is the same
    direction, 0 nothing in common.

    \b
    hashing               needs nothing and nobody; compares spelling, not meaning
    hashing/<dimensions>  the same with vectors of another length
    local/<folder>        a model of model2vec on this machine; needs holdfast[vectors]
    openai/<model>, google/<model>, cohere/<model>, ollama/<model>
                          with the keys and addresses their own clients read
    """  # noqa: D301 - click's own mark for lines that stay as they are
    if not query.strip():
        raise UsageError("the query is empty, and nothing is near to nothing: say what to look for")
    if not files and sys.stdin.isatty():
        raise UsageError("there is nothing to rank: name files, or pipe text in")
    from holdfast.cli.embedding.ranking import show_ranking

    show_ranking(query, files, model, by_line=by_line, top=top, output=output)
