"""`holdfast`: finds the command that was asked for and ends the process as it should end.

The list of commands is a table and the first page of help is text, so that both cost little more than Python's
own start; each command is loaded when it is used. Nothing else is here: what commands do is in their files.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module

from holdfast import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:  # without `typing`, which takes longer to load than all of this
    from typing import TextIO

__all__ = ("COMMANDS", "main")

COMMANDS = {
    "run": ("holdfast.cli.run", "run", "Give an agent a job in a folder."),
    "chat": ("holdfast.cli.chat.command", "chat", "Talk with an agent that works in a folder."),
    "runs": ("holdfast.cli.runs", "runs", "Look at runs, go on with them, go back in them."),
    "serve": ("holdfast.cli.serve.command", "serve", "Serve agents over HTTP, to this machine or with keys."),
    "approve": ("holdfast.cli.answering.command", "approve", "See what agents ask in all sessions, and answer."),
    "daemon": ("holdfast.cli.agentops.daemon", "daemon", "Serve one agent of an AgentOps configuration."),
    "task": ("holdfast.cli.agentops.task", "task", "Do one job as the agent of such a configuration."),
    "budget": ("holdfast.cli.budget.command", "budget", "Cap what is spent, see what is used and left."),
    "deliveries": ("holdfast.cli.delivering.command", "deliveries", "See results that did not arrive, try them again."),
    "embed": ("holdfast.cli.embedding.command", "embed", "Rank lines or files by how near they are to a query."),
    "models": ("holdfast.cli.models.command", "models", "See what models cost, hold, read, and how they think."),
    "tools": ("holdfast.cli.tools.command", "tools", "See what tools do, call one, try one, ask why one may not."),
    "secrets": ("holdfast.cli.secrets.command", "secrets", "Keep what tools are authenticated with, encrypted."),
    "config": ("holdfast.cli.settings.command", "config", "Show and set what commands do by default."),
    "sandbox": ("holdfast.cli.sandbox.command", "sandbox", "Try sandboxes, run a command in one, look into policies."),
    "doctor": ("holdfast.cli.doctor.command", "doctor", "See what this machine allows, and what is missing."),
    "completion": ("holdfast.cli.completion.command", "completion", "Print the script for bash, zsh or fish."),
    "demo": ("holdfast.cli.demo.command", "demo", "Watch an agent repair a small project, and survive a kill."),
    "stub": ("holdfast.cli.stub", "stub", "Serve a scripted model, for tests and trials."),
}
"""Every command with the module and the name where it is found, and what it is for."""

_BELOW = {
    **{
        name: f"runs {name}"
        for name in ("list", "show", "watch", "resume", "fork", "rewind", "export", "steer", "abort")
    },
    "help": "--help",
}
"""What people look for at the top."""
_LISTED = "`holdfast --help` lists what there is"

_COMPLETING = "_HOLDFAST_COMPLETE"
"""Where a shell that wants a line completed says so."""

_HELP = """\
{b}holdfast{e}: a durable agent runtime. Kill it anywhere, it goes on.

{b}Usage{e}  holdfast COMMAND [OPTIONS] [ARGUMENTS]

{b}Commands{e}
{commands}

{b}Options{e}
  -h, --help     This page; after a command, the page of that command.
  -V, --version  The version.

{b}Exit codes{e}
  0 completed    1 failed     2 wrong usage    3 stopped at a limit
  4 aborted      130 ended by a second Ctrl-C  141 nobody read the output
                 143 ended by SIGTERM

{b}Environment{e}
  OPENAI_API_KEY   the key for models named openai/...
  OPENAI_BASE_URL  another server that speaks OpenAI's Chat Completions
  ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL  the same for anthropic/...
  HOLDFAST_MODEL   the model when none is named; so too the other settings
  HOLDFAST_STORE   where the log is kept; by default your data folder
  HOLDFAST_SERVER  a server whose sessions `chat`, `approve` and `runs list`,
                   `show` and `watch` are about; HOLDFAST_API_KEY its key
  NO_COLOR         no colours

{b}Settings{e}  holdfast config show
  A flag goes before the environment, that before .holdfast/config.yaml of the
  project, that before your own file.
"""


def main(argv: list[str] | None = None) -> None:
    """Runs the command line; an error shows as a line that says what to do.

    Raises:
        SystemExit: always, unless the command ends by itself with 0.
    """
    name, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    try:
        if _COMPLETING in os.environ:
            code = _complete()
        elif name in ("", "-h", "--help"):
            _help()
            code = 0 if name else 2
        elif name in ("-V", "--version"):
            print(f"holdfast {__version__}")
            code = 0
        elif name in COMMANDS:
            code = _run(name, rest)
        else:
            code = _unknown(name)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left to be written goes nowhere, in silence
        code = 141
    sys.exit(code)


def _run(name: str, arguments: list[str]) -> int:
    import click

    from holdfast.errors import HoldfastError, UsageError

    module, attribute, _ = COMMANDS[name]
    try:
        gc.disable()  # what is loaded stays: to look through it for garbage costs a tenth of what most commands take
        command: click.Command = getattr(import_module(module), attribute)
        gc.freeze()
        gc.enable()
        # Not `command.main`: it would end a broken pipe and an interrupt in its own ways.
        with command.make_context(f"holdfast {name}", arguments) as context:
            command.invoke(context)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return 2
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else f"holdfast {name}"
        _complain(error.format_message(), f"`{where} --help` shows how it is used")
        return error.exit_code
    except click.exceptions.Exit as done:
        return done.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return 130
    except HoldfastError as error:
        from holdfast.safety.redacting import Redactor

        _complain(Redactor().clean(str(error)), error.code)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def _complete() -> int:
    from holdfast.cli.completion.command import answer

    return answer(os.environ[_COMPLETING], COMMANDS)


def _help() -> None:
    bold, end = ("\033[1m", "\033[0m") if _colours(sys.stdout) else ("", "")
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, (_, _, text) in COMMANDS.items())
    print(_HELP.format(b=bold, e=end, commands=commands), end="")


def _unknown(name: str) -> int:
    from holdfast.errors.hinting import hint

    meant = f"did you mean `holdfast {_BELOW[name]}`?" if name in _BELOW else hint(name, COMMANDS, _LISTED)
    what = "option" if name.startswith("-") else "command"
    _complain(f"there is no {what} {name!r}: {meant}", "usage")
    return 2


def _complain(message: str, note: str) -> None:
    red, dim, end = ("\033[1;31m", "\033[2m", "\033[0m") if _colours(sys.stderr) else ("", "", "")
    clean = "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in message)
    print(f"{red}error{end} {clean} {dim}[{note}]{end}", file=sys.stderr)


def _colours(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
