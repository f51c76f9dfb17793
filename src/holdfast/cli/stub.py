"""`holdfast stub`: a scripted model provider in a terminal, for any client whose provider's address can be set.

It shows where it listens, the variables a client of each provider needs, a line for each request and, in the end, what
nobody expected and what nobody asked for. It only draws: `holdfast.testing.model_server` does the work.
"""

from __future__ import annotations

import asyncio
import ipaddress
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, final

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from holdfast.cli.asking.span import Whole
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.testing.model_server import ScriptedModelServer
    from holdfast.testing.recording import Exchange, Report

__all__ = ("stub",)

_BROKEN = 1
"""Exit code of `--strict` when requests and turns did not match."""


class _Screen(Protocol):
    """Where the server's life is shown."""

    def started(self, server: ScriptedModelServer) -> None:
        """Says where it listens."""
        ...

    def answered(self, exchange: Exchange) -> None:
        """Says what was asked and given."""
        ...

    def stopped(self, report: Report) -> None:
        """Gives the account."""
        ...


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("script", type=click.Path(path_type=Path))
@click.option("--port", default=8080, show_default=True, type=Whole(0, 65535), help="0 picks a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--expose", is_flag=True, help="Allow an address that other machines can reach.")
@click.option("--log/--no-log", default=True, show_default=True, help="One line for each request.")
@click.option("--strict", is_flag=True, help="Exit with 1 when requests and turns did not match.")
@click.option("--plain", is_flag=True, help="No colours and tables; so too when the output is no terminal.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json prints an object a line."
)
def stub(script: Path, port: int, host: str, expose: bool, log: bool, strict: bool, plain: bool, output: str) -> None:
    """Serve a scripted model on loopback.

    SCRIPT is a YAML or JSON fixture; `python -m pydoc holdfast.testing.scripts` describes it. The same script is
    served to clients of every protocol: OpenAI's Chat Completions and Responses, Anthropic's Messages, Gemini, Cohere,
    Ollama, and Converse of Bedrock. The variables are shown that such a client reads, one line for each; any other
    server's client takes the first address. Embeddings, in OpenAI's form, come from no script: the same text has the
    same vector. Stop with Ctrl-C for the account.
    """
    from holdfast.testing.model_server import ScriptedModelServer

    if not expose and not _is_loopback(host):
        raise click.UsageError(
            f"{host!r} can be reached from other machines and the server asks nobody for a key: "
            "add --expose if that is wanted, or listen on 127.0.0.1"
        )
    console = Console(highlight=False)
    screen: _Screen
    if output == "json":
        screen = _JsonScreen()
    else:
        screen = _PlainScreen() if plain or not console.is_terminal else _RichScreen(console)
    try:
        server = ScriptedModelServer(script, host=host, port=port)
    except HoldfastError as error:
        raise click.UsageError(str(error)) from error
    report = asyncio.run(_serve(server, screen, log=log))
    screen.stopped(report)
    if strict and not report.clean:
        raise SystemExit(_BROKEN)


async def _serve(server: ScriptedModelServer, screen: _Screen, *, log: bool) -> Report:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if log:
        server.watch(screen.answered)
    try:
        await server.start()
    except OSError as error:
        reason = error.strerror or str(error)
        raise click.ClickException(
            f"cannot listen on {server.base_url} ({reason}): choose another --port, or 0 for a free one"
        ) from error
    screen.started(server)
    await stop.wait()
    await server.stop()
    return server.report()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _clean(text: str) -> str:
    # A client's words must not reach the terminal as control sequences.
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _given(exchange: Exchange) -> str:
    if exchange.unexpected:
        return _clean(f"unexpected: {exchange.unexpected}")
    turn = "" if exchange.turn is None else f"turn {exchange.turn + 1}: "
    return _clean(turn + exchange.label)


def _exports(server: ScriptedModelServer) -> list[tuple[str, str]]:
    """Returns for each way to the server what a shell is told, and who is served by it."""
    from holdfast.testing.doors import doors

    return [
        (
            f"export {' '.join(f'{name}={value}' for name, value in each.variables.items())}",
            f"{', '.join(f'{name}/…' for name in each.providers)}: {', '.join(each.wires)}",
        )
        for each in doors(server.origin)
    ]


def _account(report: Report) -> list[str]:
    return [_clean(line) for line in str(report).split("\n")]


@final
class _PlainScreen(_Screen):
    """Lines for pipes and files."""

    def started(self, server: ScriptedModelServer) -> None:
        click.echo(f"listening on {server.base_url}")
        for line, about in _exports(server):
            click.echo(f"{line}  # {about}")
        for name, script in server.scripts.items():
            click.echo(f"script {name}: {'a function' if callable(script) else f'{len(script)} turns'}")

    def answered(self, exchange: Exchange) -> None:
        fault = f" fault={exchange.fault}" if exchange.fault else ""
        model = _clean(exchange.model) or "-"
        click.echo(
            f"{exchange.number} {exchange.method} {exchange.target} {model} {exchange.status}{fault} {_given(exchange)}"
        )

    def stopped(self, report: Report) -> None:
        click.echo("\n".join(_account(report)))
        if report.clean:
            click.echo("every request had its turn, every turn its request")


@final
class _JsonScreen(_Screen):
    """One JSON object for each line."""

    def started(self, server: ScriptedModelServer) -> None:
        scripts = {name: None if callable(script) else len(script) for name, script in server.scripts.items()}
        from holdfast.testing.doors import doors

        told = {"event": "listening", "base_url": server.base_url, "doors": doors(server.origin), "scripts": scripts}
        self._print(told)

    def answered(self, exchange: Exchange) -> None:
        self._print({"event": "request", **_fields(exchange)})

    def stopped(self, report: Report) -> None:
        self._print(
            {
                "event": "stopped",
                "clean": report.clean,
                "requests": report.requests,
                "runs": report.runs,
                "unexpected": [_fields(one) for one in report.unexpected],
                "unconsumed": report.unconsumed,
                "forgotten": report.forgotten,
                "forgotten_unexpected": report.forgotten_unexpected,
            }
        )

    def _print(self, value: object) -> None:
        click.echo(msgspec.json.encode(value))


def _fields(exchange: Exchange) -> dict[str, object]:
    # Neither headers nor body: they may hold keys, and a log is kept longer than a process lives.
    names = (
        "number",
        "at",
        "method",
        "target",
        "run",
        "script",
        "model",
        "turn",
        "label",
        "fault",
        "status",
        "unexpected",
    )
    return {name: getattr(exchange, name) for name in names}


@final
class _RichScreen(_Screen):
    """Colours and a table, for people."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def started(self, server: ScriptedModelServer) -> None:
        show = self._console.print
        show(Text.assemble(("● ", "green"), ("Scripted model server", "bold"), " at ", (server.base_url, "cyan")))
        table = Table.grid(padding=(0, 2))
        for name, script in server.scripts.items():
            count = "a function" if callable(script) else f"{len(script)} turn{'' if len(script) == 1 else 's'}"
            table.add_row(Text("  model", "dim"), Text(name, "bold"), Text(count, "dim"))
        show(table)
        show()
        for line, about in _exports(server):
            show(Text(f"  # {about}", "dim"))
            show(Text(f"  {line}"), soft_wrap=True)
        show()
        show(Text("  Its words are scripted: no model is asked and nothing is spent. Ctrl-C ends it.", "dim"))
        show()

    def answered(self, exchange: Exchange) -> None:
        good = not exchange.unexpected
        mark = ("!", "bold red") if not good else ("~", "yellow") if exchange.fault else ("✓", "green")
        line = Text.assemble(
            mark,
            (f" {exchange.number:>4}  ", "dim"),
            (f"{exchange.method} {exchange.target}  ", "dim"),
            (f"{_clean(exchange.model) or '-'}  ", "cyan"),
            (f"{exchange.status}  ", "dim" if exchange.status == 200 else "yellow"),
            (f"{exchange.fault}  ", "yellow"),
            (_given(exchange), "" if good else "red"),
        )
        self._console.print(line, soft_wrap=not good, no_wrap=good, overflow="ellipsis" if good else None)

    def stopped(self, report: Report) -> None:
        self._console.print()
        lines = _account(report)
        self._console.print(Text(lines[0], "bold"))
        for line in lines[1:]:
            self._console.print(Text(f"  {line}", "red" if line.startswith("unexpected") else "yellow"), soft_wrap=True)
        if report.clean:
            self._console.print(Text("  every request had its turn, every turn its request", "green"))
