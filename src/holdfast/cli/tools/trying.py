"""`holdfast tools test`: real calls of a tool, and for each promise of the contract whether it was kept."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, final, get_args

import click
from rich.console import Console
from rich.text import Text

from holdfast.cli.data import printed
from holdfast.cli.settings.defaults import settings
from holdfast.cli.terminal import LiveLine, indented, open_console
from holdfast.cli.tools.finding import is_address, tool_names, tool_of, with_scheme
from holdfast.cli.words import count, one_line, printable, seconds
from holdfast.errors import UsageError
from holdfast.tools.binding import Tool
from holdfast.tools.contract.fixtures import Fixture, Group, load_fixtures
from holdfast.tools.contract.harness import Found, Report, Target, Unanswered, try_tool

__all__ = ("test",)

Auth = Literal["bearer", "api_key_header", "basic"]
_MARKS = {"ok": ("✓", "green"), "failed": ("✗", "bold red"), "not applicable": ("-", "dim"), "not run": ("·", "dim")}
_REFUSED = ("auth_invalid", "auth_forbidden", "auth_expired")


@click.command(
    "test",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="Try a tool: does it keep the contract?",
)
@click.argument("target", shell_complete=tool_names)
@click.argument("fixtures", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", help="What requests call the tool; of a service, that has to be said.")
@click.option("--auth", type=click.Choice(["bearer", "api_key_header", "basic"]), help="How it is authenticated.")
@click.option("--secret", help="The secret it is authenticated with: see holdfast secrets.")
@click.option("--header", default="X-Api-Key", show_default=True, help="The header of api_key_header.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def test(
    target: str, fixtures: Path, name: str | None, auth: Auth | None, secret: str | None, header: str, output: str
) -> None:
    """Try TARGET, a service's address or a tool of yours (module:function), with the calls in the file FIXTURES.

    \b
      holdfast tools test http://127.0.0.1:8765/ fixtures.yaml --name weather
      holdfast tools test shop.tools:pay fixtures.yaml
      holdfast tools test https://tools.example.com/pay fixtures.yaml --name pay --auth bearer --secret pay-key

    A fixture is a call and what it has to come to:

    \b
      - name: adds two numbers
        input: {a: 1, b: 2}
        expected_output: "3"

    The calls are made for real, some of them several times and at once. Exit code 0 when nothing failed, 1 otherwise.
    """  # noqa: D301 - click's own mark for lines that stay as they are
    held = settings()
    calls = _fixtures(fixtures)
    if (auth is None) != (secret is None):
        raise UsageError("--auth says how a tool is authenticated and --secret with what: give both, or none")
    aside = open_console(stderr=True, plain=held.plain)
    began = time.monotonic()
    _ensure_target(target, name, auth)
    # Before there is a loop: a module may run one of its own when it is imported.
    own = None if is_address(target) else tool_of(target)
    called, report = asyncio.run(_tried(own or target, name or "", auth, secret, header, calls, aside))
    if output == "json":
        click.echo(printed({"target": target, "tool": called, "ok": report.ok, "found": report.found}))
    else:
        console = open_console(plain=held.plain)
        head = Text(one_line(called, 64), "bold").append(f"  {printable(target)}" * (target != called), "dim")
        console.print(head, soft_wrap=True)
        _print(console, report, time.monotonic() - began)
        if any(code in each.why for each in report.failed for code in _REFUSED) and own is None:
            console.print(Text(f"→ {_credentials_advice(auth, secret)}", "cyan"), soft_wrap=True)
    sys.exit(0 if report.ok else 1)


def _ensure_target(target: str, name: str | None, auth: Auth | None) -> None:
    """Makes sure that a service is named whole, and a tool of this program by itself alone."""
    if is_address(target) and not target.startswith(("http://", "https://")):
        whole = with_scheme(target)
        raise UsageError(f"{target!r} is an address without http:// or https:// before it: write {whole}")
    if "://" in target and not is_address(target):
        raise UsageError(f"a service is tried over HTTP, and {target!r} is none: write http://… or https://…")
    if is_address(target) and not name:
        raise UsageError("requests call a service by its tool's name: say it with --name")
    if not is_address(target) and (name or auth):
        raise UsageError(
            "a tool of yours has its name, and is called without credentials: leave --name and --auth out; the "
            "address of a service begins with http:// or https://"
        )


def _credentials_advice(auth: Auth | None, secret: str | None) -> str:
    """Returns what to do where a service lets nobody in with what it was sent."""
    if auth is None:
        profiles = ", ".join(get_args(Auth))
        return f"it was sent no credentials: give --auth ({profiles}) and --secret NAME (holdfast secrets set NAME)"
    return (
        f"it was sent the secret {secret!r} as {auth}: holdfast secrets set {secret} keeps another value, --auth and "
        "--header say how it is sent"
    )


def _fixtures(path: Path) -> Sequence[Fixture]:
    try:
        return load_fixtures(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"the fixtures {str(path)!r} cannot be read ({error.strerror}): name a file") from None


@final
class _Counted(Target):
    """A target that is asked, and how often."""

    def __init__(self, inner: Target) -> None:
        self.name = inner.name
        self.authenticated = inner.authenticated
        self.asked = 0
        self._inner = inner

    async def ask(self, request: bytes, *, credentials: bool = True) -> bytes | Unanswered:
        """Returns what it answers."""
        self.asked += 1
        return await self._inner.ask(request, credentials=credentials)


async def _tried(
    target: Tool | str,
    name: str,
    auth: Auth | None,
    secret: str | None,
    header: str,
    calls: Sequence[Fixture],
    aside: Console,
) -> tuple[str, Report]:
    from holdfast.tools.elsewhere.targets import Endpoint, Served

    endpoint: Endpoint | None = None
    if isinstance(target, str):
        from holdfast.safety.addresses import TRUSTED

        endpoint = Endpoint(name, target, TRUSTED, await _headers(name, auth, secret or "", header))
        tried = _Counted(endpoint)
    else:
        tried = _Counted(Served(target))
    line = LiveLine(aside)
    try:
        with line:
            line.figures = lambda: (count(tried.asked, "call"),)
            line.show(f"trying {one_line(tried.name, 40)}")
            return tried.name, await try_tool(tried, calls)
    finally:
        if endpoint is not None:
            await endpoint.close()


async def _headers(name: str, auth: Auth | None, secret: str, header: str) -> dict[str, str]:
    """Returns what requests are authenticated with; the value is looked up where secrets are kept."""
    if auth is None:
        return {}
    from holdfast.flow.clock import SystemClock
    from holdfast.net.client import HttpClient
    from holdfast.runtime.configuring.equipment import secrets_of
    from holdfast.safety.addresses import TRUSTED
    from holdfast.safety.redacting import Redactor
    from holdfast.tools.access.applying import Authenticator
    from holdfast.tools.access.profiles import ApiKeyHeader, Basic, Bearer
    from holdfast.tools.binding import ToolFailure

    profiles = {"bearer": Bearer(secret=secret), "basic": Basic(secret=secret)}
    profile = profiles.get(auth) or ApiKeyHeader(secret=secret, header=header)
    async with HttpClient(TRUSTED) as client:
        try:
            found = await Authenticator(name, profile, client, SystemClock()).credential(secrets_of(None, Redactor()))
        except ToolFailure as error:
            raise UsageError(str(error)) from None
    return {} if found is None else {found.header: found.value}


def _print(console: Console, report: Report, took: float) -> None:
    """Prints what the checks found, by what they are about: a line for each check, and below it what failed."""
    width = max((len(each.check) for each in report.found), default=0)
    for group, checks in _grouped(report.found):
        console.print()
        console.print(Text(group, "bold"))
        for check, found in checks:
            _print_check(console, check, found, width)
    failed, left_out = len(report.failed), sum(each.outcome == "not applicable" for each in report.found)
    not_run = sum(each.outcome == "not run" for each in report.found)
    made = len(report.found) - left_out - not_run
    mark = _MARKS["ok" if report.ok else "failed"]
    said = f" {count(made, 'check')}, all kept" if report.ok else f" {failed} of {count(made, 'check')} failed"
    more = (f" · {left_out} not applicable" if left_out else "") + (f" · {not_run} not run" if not_run else "")
    console.print()
    console.print(Text.assemble(mark, (said, "bold"), (f"{more} · {seconds(took)}", "dim")))


def _grouped(found: Sequence[Found]) -> Iterator[tuple[str, list[tuple[str, list[Found]]]]]:
    for group in get_args(Group):
        if not (own := [each for each in found if each.group == group]):
            continue
        checks = dict.fromkeys(each.check for each in own)
        yield group, [(check, [each for each in own if each.check == check]) for check in checks]


def _print_check(console: Console, check: str, found: Sequence[Found], width: int) -> None:
    failed = [each for each in found if each.outcome == "failed"]
    made = [each for each in found if each.outcome in ("ok", "failed")]
    outcome = "failed" if failed else "ok" if made else found[0].outcome
    line = Text.assemble("  ", _MARKS[outcome], " ", (f"{check:<{width}}", "dim" if not made else ""))
    if failed and len(made) > 1:
        line.append(f"  {len(failed)} of {len(made)}", "red")
    elif len(made) > 1:
        line.append(f"  {len(made)}", "dim")
    elif not made:
        line.append(f"  {one_line(found[0].why or found[0].outcome, 200)}", "dim")
    line.rstrip()
    console.print(line, soft_wrap=True)
    for each in failed:
        named = f"{one_line(each.fixture, 60)}: " if each.fixture else ""
        indented(console, Text.assemble((named, "bold"), one_line(each.why, 600)), 6)
