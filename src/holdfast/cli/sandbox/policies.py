"""`holdfast sandbox explain|lint|diff|export`: what a policy says, what is probably not meant, what changed."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from holdfast.errors import UsageError
from holdfast.sandbox.capacity.abilities import can_read_nothing
from holdfast.sandbox.policy.comparing.profiles import compare
from holdfast.sandbox.policy.comparing.rows import described
from holdfast.sandbox.policy.explaining import explain as explained
from holdfast.sandbox.policy.explaining import question_of
from holdfast.sandbox.policy.exporting import export as exported
from holdfast.sandbox.policy.heeding import TLS_UNREAD
from holdfast.sandbox.policy.judging import Decision
from holdfast.sandbox.policy.linting import lint as findings_of
from holdfast.sandbox.policy.loading import Document, examine, load

__all__ = ("compare_policies", "explain", "export", "lint")

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_OUTPUT = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
_FILE = click.Path(path_type=Path, dir_okay=False)


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} cannot be read ({error.strerror}): name a policy's or a profile's file"
        ) from None


def _document(path: Path) -> Document:
    load(data := _text(path), str(path))  # which says what is wrong with it, line by line
    return examine(data)


@click.command(context_settings=_SETTINGS, short_help="Say whether a policy allows something, and why.")
@click.argument("file", type=_FILE)
@click.argument("question", nargs=-1, required=True)
@_OUTPUT
def explain(file: Path, question: tuple[str, ...], output: str) -> None:
    """Say whether a policy allows something, and which rule decides.

    QUESTION is `read PATH`, `write PATH`, `connect HOST:PORT [PROGRAM…]`, or a method with an address, such as
    `GET https://host/path [PROGRAM…]`. Exit code 0 when it is allowed, 1 when not.
    """
    profile = _document(file).profile
    decision = explained(profile, question_of(question))
    if decision.allowed and can_read_nothing(profile):
        decision = Decision(False, f"no sandbox starts with this: {TLS_UNREAD}")
    if output == "json":
        shown = {"allowed": decision.allowed, "reason": decision.reason, "rule": decision.rule, "audit": decision.audit}
        click.echo(msgspec.json.format(msgspec.json.encode(shown)))
    else:
        verdict = "allowed" if decision.allowed else "denied"
        click.echo(f"{verdict}{' (audit only)' if decision.audit else ''}: {decision.reason}")
    sys.exit(0 if decision.allowed else 1)


@click.command(context_settings=_SETTINGS, short_help="Say what in a policy is probably not meant.")
@click.argument("file", type=_FILE)
@_OUTPUT
def lint(file: Path, output: str) -> None:
    """Say what in a policy is wrong, and what is probably not meant.

    Exit code 1 when something is; 0 when there are notes alone, which say what is good to know.
    """
    findings = findings_of(document := _document(file), installed=not can_read_nothing(document.profile))
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(findings)))
    else:
        for each in findings:
            click.echo(f"{file}:{each}")
        if not findings:
            click.echo(f"{file}: nothing to find fault with")
    sys.exit(1 if any(each.severity != "note" for each in findings) else 0)


def compare_policies(before: Path, after: Path, output: str) -> bool:
    """Says what the second policy or profile newly lets through, and what it no longer does; returns whether something
    became reachable, or that cannot be told.

    Raises:
        UsageError: one of them cannot be read, or is no policy.
    """
    comparison = compare(_document(before).profile, _document(after).profile)
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(comparison)))
    else:
        click.echo(described(comparison))
    return bool(comparison.opened or comparison.unsure)


@click.command(context_settings=_SETTINGS, short_help="Print a profile's policy as OpenShell reads it.")
@click.argument("file", type=_FILE)
def export(file: Path) -> None:
    """Print the policy in a profile as a document of its own, as OpenShell reads it."""
    click.echo(exported(_document(file).policy), nl=False)
