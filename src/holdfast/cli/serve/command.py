"""`holdfast serve`: what it takes, and which commands stand below it.

Only that: what serves is loaded when something is served, so that a page of help costs nothing of it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

import click

from holdfast.cli.asking.span import Whole
from holdfast.errors import UsageError

__all__ = ("serve",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_BELOW = {
    "keys": ("holdfast.cli.serve.keys", "keys", "Make keys for programs, list and revoke them."),
    "users": ("holdfast.cli.serve.users", "users", "Make users who log in, list and remove them."),
}
"""Commands beside serving itself, with the module and the name where each is found."""
_START = "start"


@final
class _Serve(click.Group):
    """Serves, unless one of its commands is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Reads what is written behind the name: without a command's name it is all for `start`."""
        known = (*self.list_commands(ctx), "-h", "--help")
        return super().parse_args(ctx, args if args and args[0] in known else [_START, *args])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names of all commands."""
        return [_START, *_BELOW]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Returns a command."""
        if cmd_name not in _BELOW:
            return super().get_command(ctx, cmd_name)
        module, name, _ = _BELOW[cmd_name]
        found: click.Command = getattr(import_module(module), name)
        return found

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes both ways to use it."""
        formatter.write_usage(ctx.command_path, "[OPTIONS] [MODULE:AGENT]...")
        formatter.write_usage(ctx.command_path, "COMMAND [ARGS]...")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options of serving, then the commands."""
        start.format_options(ctx, formatter)
        with formatter.section("Commands"):
            formatter.write_dl([(_START, "Serve, as without a command.")] + [(n, a) for n, (_, _, a) in _BELOW.items()])

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes what serving does."""
        start.format_help_text(ctx, formatter)


serve = _Serve("serve", context_settings=_SETTINGS)


@serve.command(_START, context_settings=_SETTINGS)
@click.argument("agents", metavar="[MODULE:AGENT]...", nargs=-1)
@click.option("--agents", "files", type=click.Path(path_type=Path), multiple=True, help="A Python file of agents.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="A file that says all this, and who may: docs/reference/serve.md lists its fields.",
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=Whole(0, 65535), help="0 picks a free one.  [default: 8700]")
@click.option("--unix-socket", type=click.Path(path_type=Path), help="A socket file to listen on, instead.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="A certificate chain, to speak TLS.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its key.")
@click.option("--trusted-proxy", "proxies", multiple=True, help="An address or network whose X-Forwarded-For counts.")
@click.option("--origin", "origins", multiple=True, help="A site whose pages may ask this server from a browser.")
@click.option("--at-once", type=Whole(1), help="Sessions that are driven at once.  [default: 1000]")
@click.option("--policy", type=click.Path(path_type=Path), help="A file that says which calls there may be.")
@click.option("--sandbox", help="What commands run in: a sandbox's name, or a profile's file.  [default: auto]")
@click.option(
    "--mode",
    type=click.Choice(["read-only", "ask", "accept-edits", "auto"]),
    help="What agents may do without asking, of prompts that do not say.  [default: auto]",
)
@click.option("--store", help="Where the log is kept.  [default: your data folder]")
@click.option(
    "--log",
    type=click.Choice(["auto", "json", "text", "none"]),
    default="auto",
    help="A line for each request on standard error: text on a terminal, else json.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How it says where it is.")
def start(**given: Any) -> None:
    """Serve agents over HTTP: sessions, events, answers, and the APIs that clients of models speak.

    Each MODULE:AGENT is what an Agent(...) is bound to, in an installed module or one of this folder; name=MODULE:AGENT
    gives it another name. Without any, the agent behind `holdfast run` is served.

    As long as there are no keys, no users and no issuers, everybody who reaches the server may do everything; so it
    listens where only this machine reaches it. `holdfast serve keys create` makes the first key.

    Ctrl-C or SIGTERM ends it in good order: nothing new begins, streams say farewell, requests have 20 seconds. Runs
    that are open stay open, and go on when it is started again. A second Ctrl-C leaves at once.
    """
    if find_spec("starlette") is None:
        raise UsageError("serving needs packages that are not installed: pip install 'holdfast[server]'")
    from holdfast.cli.serve.planning import plan_of
    from holdfast.cli.serve.running import run_server

    sys.exit(run_server(plan_of(**given)))
