"""What the git tool can do, one function for each action: its arguments in, what the model reads out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from holdfast.tools.binding import ToolFailure
from holdfast.tools.builtin.repository.remotes import find_remote
from holdfast.tools.builtin.repository.running import LOOK, Git

__all__ = ("ACTIONS", "Action", "Asked", "upstream")

_PATCH: Final = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=dirty")


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
    writes: bool = True
    """Whether it changes anything."""
    sends: bool = False
    """Whether it speaks with a remote."""


async def _status(git: Git, asked: Asked) -> str:
    options = ("--short", "--branch", "--untracked-files=normal", "--ignore-submodules=dirty", "--no-renames")
    text = await git.run("status", *options, "--", *asked.paths, env=LOOK)
    return text if text.count("\n") > 1 else f"{text}working tree clean\n"


async def _diff(git: Git, asked: Asked) -> str:
    where = (*(("--cached",) if asked.staged else ()), *((asked.ref,) if asked.ref else ()))
    # Of exactly two paths git may take one for a file outside of any repository, and shows it.
    third = asked.paths[:1] if len(asked.paths) == 2 else ()
    return await git.run("diff", *_PATCH, *where, "--", *asked.paths, *third, env=LOOK) or "no changes"


async def _log(git: Git, asked: Asked) -> str:
    if not asked.ref and (await git.try_run("rev-parse", "--verify", "--quiet", "HEAD", env=LOOK))[0].code:
        return "no commits yet"
    shape = "%h %s" if asked.oneline else "%h %ad %an: %s"
    options = ("--no-show-signature", "--no-color", "--abbrev=7", "--date=short", f"--max-count={asked.count}")
    return await git.run("log", *options, f"--format={shape}", asked.ref or "HEAD", "--", *asked.paths, env=LOOK)


async def _show(git: Git, asked: Asked) -> str:
    options = (*_PATCH, "--no-show-signature", "--format=medium", "--stat", "--patch")
    return await git.run("show", *options, asked.ref or "HEAD", "--", *asked.paths, env=LOOK)


async def _add(git: Git, asked: Asked) -> str:
    await git.run("add", "--", *asked.paths)
    third = asked.paths[:1] if len(asked.paths) == 2 else ()  # as for diff
    staged = await git.run("diff", *_PATCH, "--cached", "--name-status", "--", *asked.paths, *third, env=LOOK)
    return f"staged:\n{staged}" if staged else "nothing to stage: these files are as they were"


async def _commit(git: Git, asked: Asked) -> str:
    author = (f"--author={asked.author}",) if asked.author else ()
    options = ("--quiet", "--no-verify", "--no-gpg-sign", "--no-edit", "--no-status", "--cleanup=whitespace")
    ended, text = await git.try_run("commit", *options, *author, f"--message={asked.message}")
    if ended.code:
        if (await git.try_run("diff", "--cached", "--quiet", *_PATCH, env=LOOK))[0].code == 0:
            raise ToolFailure("Nothing is staged, so there is nothing to commit: use the action `add` first.")
        raise ToolFailure(text.strip() or f"git commit ended with exit code {ended.code} and no word.")
    return "committed " + (await git.run("log", "--max-count=1", "--abbrev=7", "--format=%h: %s", env=LOOK))


async def _push(git: Git, asked: Asked) -> str:
    remote = await find_remote(git, asked.remote)
    branch = asked.branch or await _current(git)
    options = ("--porcelain", "--no-verify", "--no-follow-tags", "--no-recurse-submodules", "--no-signed")
    lease = ("--force-with-lease",) if asked.force_with_lease else ()
    refspec = f"refs/heads/{branch}:refs/heads/{branch}"
    program = "--receive-pack=git-receive-pack"
    text = await git.run("push", *options, *lease, program, remote.name, refspec, protocols=remote.protocols)
    same = any(line.startswith("=\t") for line in text.splitlines())
    return "already up to date" if same else f"pushed {branch} to {remote.name}"


async def _pull(git: Git, asked: Asked) -> str:
    remote = await find_remote(git, asked.remote)
    branch = asked.branch or await _current(git)
    # That no signature is verified is set already; as an option it fails where there is no commit yet.
    options = ("--ff-only", "--no-rebase", "--no-recurse-submodules", "--no-stat", "--no-tags")
    refspec = f"refs/heads/{branch}"
    program = "--upload-pack=git-upload-pack"
    before = (await git.try_run("rev-parse", "--verify", "--quiet", "HEAD", env=LOOK))[1]
    ended, text = await git.try_run("pull", *options, program, remote.name, refspec, protocols=remote.protocols)
    if ended.code:
        apart = (
            "\nBoth sides have commits of their own: merge or rebase with git in bash."
            if "fast-forward" in text
            else ""
        )
        raise ToolFailure(f"{text.strip()}{apart}")
    after = await git.run("rev-parse", "HEAD", env=LOOK)
    if before == after:
        return "already up to date"
    if not before:
        return f"pulled from {remote.name}"
    stat = await git.run("diff", *_PATCH, "--stat", before.strip(), after.strip(), "--", env=LOOK)
    return f"pulled from {remote.name}\n{stat}"


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
    return await git.run("branch", "--all", "--no-color", "--no-column", shape, env=LOOK) or "no branches yet"


async def _current(git: Git) -> str:
    ended, text = await git.try_run("symbolic-ref", "--quiet", "--short", "HEAD", env=LOOK)
    if ended.code:
        raise ToolFailure("No branch is checked out: say which one with `branch`.", code="invalid_input")
    return text.strip()


async def upstream(git: Git, asked: Asked) -> str | None:
    """Returns what a push came to, asked of the remote; None when it did not happen.

    Raises:
        ToolFailure: the remote does not answer, or what it holds does not tell.
    """
    remote = await find_remote(git, asked.remote)
    branch = asked.branch or await _current(git)
    ours = (await git.run("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}", env=LOOK)).strip()
    program = "--upload-pack=git-upload-pack"
    asking = ("ls-remote", program, "--quiet", remote.name, f"refs/heads/{branch}")
    listed = await git.run(*asking, protocols=remote.protocols)
    theirs = listed.split("\t", 1)[0].strip()
    if not theirs:
        return None
    if theirs == ours or await _contains(git, theirs, ours):
        return f"pushed {branch} to {remote.name}"
    known, tracked = await git.try_run(
        "rev-parse", "--verify", "--quiet", f"refs/remotes/{remote.name}/{branch}", env=LOOK
    )
    if await _contains(git, ours, theirs) or (known.code == 0 and tracked.strip() == theirs):
        return None
    raise ToolFailure(
        f"{remote.name} has commits on {branch} that are not known here; pull, then look whether yours is there."
    )


async def _contains(git: Git, commit: str, older: str) -> bool:
    return (await git.try_run("merge-base", "--is-ancestor", older, commit, env=LOOK))[0].code == 0


ACTIONS: Final[Mapping[str, Action]] = MappingProxyType(
    {
        "status": Action(_status, ("paths",), writes=False),
        "diff": Action(_diff, ("paths", "ref", "staged"), writes=False),
        "log": Action(_log, ("paths", "ref", "count", "oneline"), writes=False),
        "show": Action(_show, ("paths", "ref"), writes=False),
        "branch_list": Action(_branch_list, (), writes=False),
        "add": Action(_add, ("paths",), ("paths",), checks_out=True),
        "commit": Action(_commit, ("message", "author"), ("message",)),
        "branch": Action(_branch, ("branch", "ref"), ("branch",), checks_out=True),
        "checkout": Action(_checkout, ("ref", "paths"), checks_out=True),
        "pull": Action(_pull, ("remote", "branch"), checks_out=True, sends=True),
        "push": Action(_push, ("remote", "branch", "force_with_lease"), sends=True),
    }
)
"""Each by the name the model calls it."""
