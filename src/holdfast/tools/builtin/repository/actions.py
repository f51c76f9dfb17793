"""What the git tool can do, one function for each action: its arguments in, what the model reads out."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from holdfast.tools.binding import ToolFailure
from holdfast.tools.builtin.repository.finding import inside
from holdfast.tools.builtin.repository.running import Git

__all__ = ("ACTIONS", "Action", "Asked", "remote_of", "upstream")

_LOOK: Final = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}
"""For looking: nothing is written, not even to make the next look quicker, and nothing is fetched."""
_PATCH: Final = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=dirty")
_REMOTE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_HAS_HOST: Final = re.compile(r"(?!file:)(?:[a-z][a-z0-9+.-]*://|[^/]*:)", re.IGNORECASE)
"""How a URL begins that names a host; everything else is a path."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of one call."""

    paths: tuple[str, ...] = ()
    ref: str = ""
    staged: bool = False
    count: int = 20
    oneline: bool = False
    message: str = ""
    author: str = ""
    remote: str = ""
    branch: str = ""
    force_with_lease: bool = False


class Action(msgspec.Struct, frozen=True):
    """One thing to do."""

    run: Callable[[Git, Asked], Awaitable[str]]
    takes: tuple[str, ...]
    """The arguments that mean something to it."""
    needs: tuple[str, ...] = ()
    checks_out: bool = False
    """Whether it writes files, or takes them in, through what a repository may call a filter."""


async def _status(git: Git, asked: Asked) -> str:
    options = ("--short", "--branch", "--untracked-files=normal", "--ignore-submodules=dirty", "--no-renames")
    text = await git.run("status", *options, "--", *asked.paths, env=_LOOK)
    return text if text.count("\n") > 1 else f"{text}working tree clean\n"


async def _diff(git: Git, asked: Asked) -> str:
    where = (*(("--cached",) if asked.staged else ()), *((asked.ref,) if asked.ref else ()))
    return await git.run("diff", *_PATCH, *where, "--", *asked.paths, env=_LOOK) or "no changes"


async def _log(git: Git, asked: Asked) -> str:
    if not asked.ref and (await git.try_run("rev-parse", "--verify", "--quiet", "HEAD", env=_LOOK))[0].code:
        return "no commits yet"
    shape = "%h %s" if asked.oneline else "%h %ad %an: %s"
    options = ("--no-show-signature", "--no-color", "--abbrev=7", "--date=short", f"--max-count={asked.count}")
    return await git.run("log", *options, f"--format={shape}", asked.ref or "HEAD", "--", *asked.paths, env=_LOOK)


async def _show(git: Git, asked: Asked) -> str:
    options = (*_PATCH, "--no-show-signature", "--format=medium", "--stat", "--patch")
    return await git.run("show", *options, asked.ref or "HEAD", "--", *asked.paths, env=_LOOK)


async def _add(git: Git, asked: Asked) -> str:
    await git.run("add", "--", *asked.paths)
    staged = await git.run("diff", *_PATCH, "--cached", "--name-status", "--", *asked.paths, env=_LOOK)
    return f"staged:\n{staged}" if staged else "nothing to stage: these files are as they were"


async def _commit(git: Git, asked: Asked) -> str:
    author = (f"--author={asked.author}",) if asked.author else ()
    options = ("--quiet", "--no-verify", "--no-gpg-sign", "--no-edit", "--no-status", "--cleanup=whitespace")
    ended, text = await git.try_run("commit", *options, *author, f"--message={asked.message}")
    if ended.code:
        if (await git.try_run("diff", "--cached", "--quiet", *_PATCH, env=_LOOK))[0].code == 0:
            raise ToolFailure("Nothing is staged, so there is nothing to commit: use the action `add` first.")
        raise ToolFailure(text.strip() or f"git commit ended with exit code {ended.code} and no word.")
    return "committed " + (await git.run("log", "--max-count=1", "--abbrev=7", "--format=%h: %s", env=_LOOK))


async def _push(git: Git, asked: Asked) -> str:
    remote = await remote_of(git, asked)
    branch = asked.branch or await _current(git)
    options = ("--porcelain", "--no-verify", "--no-follow-tags", "--no-recurse-submodules", "--no-signed")
    lease = ("--force-with-lease",) if asked.force_with_lease else ()
    refspec = f"refs/heads/{branch}:refs/heads/{branch}"
    program = "--receive-pack=git-receive-pack"
    text = await git.run("push", *options, *lease, program, remote, refspec, remote=True)
    same = any(line.startswith("=\t") for line in text.splitlines())
    return "already up to date" if same else f"pushed {branch} to {remote}"


async def _pull(git: Git, asked: Asked) -> str:
    remote = await remote_of(git, asked)
    branch = asked.branch or await _current(git)
    options = (
        "--ff-only",
        "--no-rebase",
        "--no-recurse-submodules",
        "--no-verify-signatures",
        "--no-stat",
        "--no-tags",
    )
    program = "--upload-pack=git-upload-pack"
    before = (await git.try_run("rev-parse", "--verify", "--quiet", "HEAD", env=_LOOK))[1]
    ended, text = await git.try_run("pull", *options, program, remote, f"refs/heads/{branch}", remote=True)
    if ended.code:
        apart = (
            "\nBoth sides have commits of their own: merge or rebase with git in bash."
            if "fast-forward" in text
            else ""
        )
        raise ToolFailure(f"{text.strip()}{apart}")
    after = await git.run("rev-parse", "HEAD", env=_LOOK)
    if before == after:
        return "already up to date"
    if not before:
        return f"pulled from {remote}"
    stat = await git.run("diff", *_PATCH, "--stat", before.strip(), after.strip(), "--", env=_LOOK)
    return f"pulled from {remote}\n{stat}"


async def _branch(git: Git, asked: Asked) -> str:
    start = (asked.ref,) if asked.ref else ()
    await git.run("checkout", "--quiet", "--no-track", "-b", asked.branch, *start, "--")
    return f"made branch {asked.branch} and switched to it"


async def _checkout(git: Git, asked: Asked) -> str:
    ref = (asked.ref,) if asked.ref else ()
    if asked.paths:
        await git.run("checkout", "--quiet", *ref, "--", *asked.paths)
        return f"restored {', '.join(asked.paths)} from {asked.ref or 'what is staged'}"
    if not asked.ref:
        raise ToolFailure("The action `checkout` needs `ref`, `paths` or both.", code="invalid_input")
    await git.run("checkout", "--quiet", asked.ref, "--")
    return f"checked out {asked.ref}"


async def _branch_list(git: Git, asked: Asked) -> str:
    shape = "--format=%(HEAD) %(objectname:short=7) %(refname:short)"
    return await git.run("branch", "--all", "--no-color", "--no-column", shape, env=_LOOK) or "no branches yet"


async def _current(git: Git) -> str:
    ended, text = await git.try_run("symbolic-ref", "--quiet", "--short", "HEAD", env=_LOOK)
    if ended.code:
        raise ToolFailure("No branch is checked out: say which one with `branch`.", code="invalid_input")
    return text.strip()


async def remote_of(git: Git, asked: Asked) -> str:
    """Returns the remote of a call, by its name.

    Raises:
        ToolFailure: there is none of that name, or it is a folder of the workspace, whose programs would run.
    """
    remote = asked.remote or "origin"
    known = (await git.run("remote", env=_LOOK)).split()
    if not _REMOTE.fullmatch(remote) or remote not in known:
        listed = ", ".join(known) or "none"
        raise ToolFailure(f"There is no remote {remote!r}; there are: {listed}.", code="invalid_input")
    for side in ((), ("--push",)):
        for url in (await git.run("remote", "get-url", "--all", *side, remote, env=_LOOK)).splitlines():
            path = url.removeprefix("file://")
            if not _HAS_HOST.match(url) and inside(git.repository.space, git.repository.tree / path):
                message = f"The remote {remote!r} is a folder of the workspace, whose hooks would run. Use git in bash."
                raise ToolFailure(message, code="permission_denied")
    return remote


async def upstream(git: Git, asked: Asked) -> str | None:
    """Returns what a push came to, asked of the remote; None when it did not happen.

    Raises:
        ToolFailure: the remote does not answer, or what it holds does not tell.
    """
    remote = await remote_of(git, asked)
    branch = asked.branch or await _current(git)
    ours = (await git.run("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}", env=_LOOK)).strip()
    program = "--upload-pack=git-upload-pack"
    listed = await git.run("ls-remote", program, "--quiet", remote, f"refs/heads/{branch}", remote=True)
    theirs = listed.split("\t", 1)[0].strip()
    if not theirs:
        return None
    if theirs == ours or await _contains(git, theirs, ours):
        return f"pushed {branch} to {remote}"
    known, tracked = await git.try_run("rev-parse", "--verify", "--quiet", f"refs/remotes/{remote}/{branch}", env=_LOOK)
    if await _contains(git, ours, theirs) or (known.code == 0 and tracked.strip() == theirs):
        return None
    raise ToolFailure(
        f"{remote} has commits on {branch} that are not known here; pull, then look whether yours is there."
    )


async def _contains(git: Git, commit: str, older: str) -> bool:
    return (await git.try_run("merge-base", "--is-ancestor", older, commit, env=_LOOK))[0].code == 0


ACTIONS: Final[Mapping[str, Action]] = MappingProxyType(
    {
        "status": Action(_status, ("paths",)),
        "diff": Action(_diff, ("paths", "ref", "staged")),
        "log": Action(_log, ("paths", "ref", "count", "oneline")),
        "show": Action(_show, ("paths", "ref")),
        "branch_list": Action(_branch_list, ()),
        "add": Action(_add, ("paths",), ("paths",), checks_out=True),
        "commit": Action(_commit, ("message", "author"), ("message",)),
        "branch": Action(_branch, ("branch", "ref"), ("branch",), checks_out=True),
        "checkout": Action(_checkout, ("ref", "paths"), checks_out=True),
        "pull": Action(_pull, ("remote", "branch"), checks_out=True),
        "push": Action(_push, ("remote", "branch", "force_with_lease")),
    }
)
"""Each by the name the model calls it."""
