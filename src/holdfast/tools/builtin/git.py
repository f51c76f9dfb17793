"""The tool that works with a git repository of the workspace, without running any program the repository names.

No shell, no hooks, filters, editors, pagers or prompts, and no configuration but the repository's own, tamed
(`repository/taming.py`). The kernel lets git open only what it needs (`repository/bounding.py`). What it cannot do
safely it refuses, and says that bash can. It speaks with hosts alone; which folders of this machine may be remotes,
too, the program says.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from holdfast.errors import PathEscape, SandboxError
from holdfast.sandbox.port import Posture
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.repository.actions import ACTIONS, Action, Asked, upstream
from holdfast.tools.builtin.repository.finding import refuse_outside
from holdfast.tools.builtin.repository.remotes import find_remote
from holdfast.tools.builtin.repository.running import Git, open_git
from holdfast.tools.declaring import FunctionTool, tool
from holdfast.types import Effect, Governance, ToolResult

__all__ = ("git", "git_tool")

_Name = Literal["status", "diff", "log", "show", "branch_list", "add", "commit", "branch", "checkout", "pull", "push"]
_DIFF: Final = 20_000
"""Characters of a diff that a screen gets beside the result."""
_TOLD: Final = """\
Work with a git repository of the workspace. Hooks, filters and other programs that the repository names are
not run.

status: what is changed. diff: the changes that are not staged, with `staged` those that are, with `ref` since
that commit or between two (`a..b`). log: the last commits. show: one commit, or a file of it (`ref:path`).
branch_list: the branches. add: stages `paths`. commit: commits what is staged. branch: makes `branch`, at `ref`,
and switches to it. checkout: switches to `ref`; with `paths` puts these files back to `ref`, or to what is staged.
pull: takes over the remote's commits when there is nothing to merge. push: sends a branch."""
"""What the model reads of the tool."""
_AUTHOR: Final = re.compile(r"[^<>\n\0]+ <[^<>\s\0]+>")
_EFFECTS: Final = {
    **dict.fromkeys(("status", "diff", "log", "show", "branch_list"), Effect(workspace=False, outside="none")),
    **dict.fromkeys(("add", "commit", "branch", "checkout"), Effect(workspace=True, outside="none")),
    # The remote is told which commits are here, and who asks.
    "pull": Effect(workspace=True, outside="none", sends=True),
    # It also writes down what the remote has now.
    "push": Effect(workspace=True, outside="checkable"),
}


def _effect(arguments: Any, posture: Posture) -> Effect:
    return _EFFECTS[arguments.action]


_SAID: Final[dict[str, Any]] = {
    "effect": _effect,
    "settles": 5.0,
    "description": _TOLD,
    "tier": "outside",
    "reference": "builtin:git",
    "governance": Governance(operations=("read", "write", "delete")),  # a checkout takes files away, too
}
"""What the tool says of itself."""


def git_tool(remotes: Iterable[str | Path] = ()) -> FunctionTool[..., Any]:
    """Returns the tool with folders of this machine that a remote may be, or be in: `git_tool(["/srv/git"])`.

    Without any, a remote is a host. Hooks of a repository in these folders run when it is pushed to, and write there
    and in a `TMPDIR` of their own, nowhere else; one that is in the workspace is never used.
    """
    allowed = tuple(Path(folder).expanduser().absolute() for folder in remotes)

    async def check(context: ToolContext, folder: str, remote: str, branch: str) -> ToolResult | None:
        return await _check(Asked(remote=remote, branch=branch), folder, context, allowed)

    @tool(check=check, **_SAID)
    async def git(  # noqa: PLR0913 - each is an argument of the model's
        action: _Name,
        context: ToolContext,
        paths: Annotated[tuple[str, ...], msgspec.Meta(max_length=1000)] = (),
        ref: str = "",
        staged: bool = False,
        count: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20,
        oneline: bool = False,
        message: str = "",
        author: str = "",
        remote: str = "",
        branch: str = "",
        force_with_lease: bool = False,
        folder: str = ".",
    ) -> ToolResult:
        """Works with a repository.

        Args:
            action: What to do.
            context: Where the call runs.
            paths: Files or folders, relative to `folder`; no patterns.
            ref: A commit, branch or tag, or a range of them.
            staged: Of diff: what the next commit will hold.
            count: Of log: how many commits.
            oneline: Of log: only hash and subject.
            message: Of commit: its message.
            author: Of commit: who made it, as `Name <mail>`; the repository's user otherwise.
            remote: Of push and pull: the name of a remote; `origin` otherwise.
            branch: Of push and pull: the branch, the current one otherwise. Of branch: the new one.
            force_with_lease: Of push: replaces the remote's branch, if it is still as it was last seen.
            folder: A folder of the repository, relative to the workspace.
        """
        asked = Asked(
            paths=paths,
            ref=ref,
            staged=staged,
            count=count,
            oneline=oneline,
            message=message,
            author=author,
            remote=remote,
            branch=branch,
            force_with_lease=force_with_lease,
        )
        return await _done(action, asked, folder, context, allowed)

    return git


async def _check(asked: Asked, folder: str, context: ToolContext, allowed: tuple[Path, ...]) -> ToolResult | None:
    """Asks the remote whether the commit that a push was about is there."""
    metadata: dict[str, Any] = {"ui": "terminal", "command": "git push", "action": "push"}
    try:
        _refuse_options(asked)
        opened = await open_git(context, folder, allowed)
        _refuse_settings(opened, "push", ACTIONS["push"])
        await find_remote(opened, asked.remote)
    except (ToolFailure, SandboxError):
        return None  # a push is refused for the same reason before it begins
    found = await upstream(opened, asked)
    return None if found is None else ToolResult(content=found, metadata=metadata)


async def _done(action: str, asked: Asked, folder: str, context: ToolContext, allowed: tuple[Path, ...]) -> ToolResult:
    chosen = ACTIONS[action]
    looks = action in ("diff", "show")
    metadata: dict[str, Any] = {"ui": "diff" if looks else "terminal", "command": f"git {action}", "action": action}
    begun = time.monotonic()
    try:
        _refuse_misfits(action, chosen, asked)
        _refuse_options(asked)
        opened = await open_git(context, folder, allowed)
        await asyncio.to_thread(refuse_outside, opened.repository, asked.paths)
        _refuse_filters(opened, action, chosen)
        _refuse_settings(opened, action, chosen)
        metadata["cwd"] = str(opened.repository.folder)
        text = await chosen.run(opened, asked)
    except PathEscape as error:
        raise ToolFailure(str(error), code="permission_denied", metadata=metadata) from error
    except (SandboxError, OSError) as error:
        raise ToolFailure(str(error), metadata=metadata) from error
    except ToolFailure as error:
        metadata |= {"exitCode": 1, "duration": round((time.monotonic() - begun) * 1000)}
        raise ToolFailure(str(error), code=error.code, metadata=metadata) from error
    metadata |= {"exitCode": 0, "duration": round((time.monotonic() - begun) * 1000)}
    if looks:
        metadata["diff"] = text[:_DIFF]
    return ToolResult(content=text, metadata=metadata)


def _refuse_misfits(name: str, action: Action, asked: Asked) -> None:
    """Raises when an argument is missing, or means nothing to this action."""
    given = {field for field in Asked.__struct_fields__ if getattr(asked, field) != getattr(_NOTHING, field)}
    if missing := [field for field in action.needs if field not in given]:
        raise _invalid(f"The action {name!r} needs {missing[0]!r}.")
    if foreign := sorted(given.difference(action.takes)):
        takes = ", ".join(action.takes) or "no other argument"
        raise _invalid(f"The action {name!r} does not take {foreign[0]!r}; it takes {takes}.")
    if asked.author and not _AUTHOR.fullmatch(asked.author):
        raise _invalid(f"The author {asked.author!r} is not written as 'Name <mail>'.")


def _refuse_options(asked: Asked) -> None:
    """Raises when a name could be taken for an option, or for more than a name."""
    if asked.ref.startswith("-") or _CONTROL.search(asked.ref):
        raise _invalid(f"{asked.ref!r} is no commit, branch or tag.")
    if asked.branch.startswith("-") or _NO_BRANCH.search(asked.branch):
        raise _invalid(f"{asked.branch!r} is no name of a branch.")
    if any(not path or "\0" in path for path in asked.paths):
        raise _invalid("A path is empty or holds NUL; `.` is everything.")


def _refuse_filters(opened: Git, name: str, action: Action) -> None:
    if action.checks_out and opened.tamed.filters:
        raise ToolFailure(
            f"The repository's configuration names a program that files pass through ({opened.tamed.filters[0]!r}). "
            f"None is run here, and without it {name!r} would change files. Use git in bash if you trust it.",
            code="permission_denied",
        )


def _refuse_settings(opened: Git, name: str, action: Action) -> None:
    """Raises when the configuration could lead this action to files, programs or hosts of its own choosing."""
    found = opened.tamed.risky if action.sends else opened.tamed.unknown if action.writes else ()
    if found:
        raise ToolFailure(
            f"The repository's configuration sets {found[0]!r}, which is not known to be harmless when it is heeded by "
            f"{name!r}. Remove it with `git config --unset-all`, or use git in bash if you trust it.",
            code="permission_denied",
        )


def _invalid(message: str) -> ToolFailure:
    return ToolFailure(message, code="invalid_input")


_NOTHING: Final = Asked()
_CONTROL: Final = re.compile(r"[\0-\x1f\x7f]")
_NO_BRANCH: Final = re.compile(r"[\0-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock$|/$")


git = git_tool()
