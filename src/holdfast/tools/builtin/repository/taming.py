"""What git is started with, so that a repository's own configuration runs no program.

A repository can name programs in many places: hooks, filters, diff and merge drivers, signing, credentials, a file
system monitor, transports. Settings are overridden through the environment, which git reads last: those that are
always the same, and each one found in the configuration whose name has a part of the repository's choosing. A
repository with settings that cannot be overridden is not used at all. Whatever else might lead a write or a call to a
remote astray is for `allowing.py` to know: settings that it does not are refused by these (`Tamed.unknown`).

Filters cannot be left out without changing what is stored or checked out, so they are left out only for looking; what
writes is refused (`Tamed.filters`). What another process changes in the configuration after our look is not seen.

Not here either: the settings of the user and of the machine, which are not read at all. Credentials come from the
workspace's environment (`GIT_ASKPASS`, `SSH_AUTH_SOCK`, `GIT_SSH_COMMAND`), or not at all: git has no home, so there
is no `.netrc`, and ssh offers no key of the user's. Of that environment's own variables for git only those are kept
that say who commits and how to reach a remote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from holdfast.errors import SandboxError
from holdfast.sandbox.environment import clean_environment
from holdfast.tools.builtin.repository.allowing import is_local, is_quiet
from holdfast.tools.builtin.repository.finding import Repository

__all__ = ("AGENT", "EMAIL", "Tamed", "base_environment", "tame")

AGENT: Final = "Holdfast Agent"
EMAIL: Final = "agent@holdfast.invalid"

_ALWAYS: Final = {
    # Programs.
    "core.hookspath": "/dev/null",
    "core.fsmonitor": "false",
    "core.editor": ":",
    "core.pager": "cat",
    "core.askpass": "",
    "core.alternaterefscommand": ":",
    "credential.helper": "",
    "diff.external": "",
    "gc.auto": "0",
    "gpg.program": "false",
    "gpg.ssh.defaultkeycommand": "",
    "maintenance.auto": "false",
    "protocol.ext.allow": "never",
    "sequence.editor": ":",
    # What would sign or verify with one.
    "commit.gpgsign": "false",
    "log.showsignature": "false",
    "merge.verifysignatures": "false",
    "push.gpgsign": "false",
    # Other repositories, with configurations of their own.
    "diff.ignoresubmodules": "dirty",
    "diff.submodule": "short",
    "fetch.recursesubmodules": "false",
    "push.recursesubmodules": "no",
    "status.submodulesummary": "false",
    "submodule.recurse": "false",
    # Files from anywhere.
    "core.attributesfile": "/dev/null",
    "core.excludesfile": "/dev/null",
    "diff.orderfile": "/dev/null",
    "mailmap.file": "/dev/null",
    # What is shown.
    "color.ui": "false",
    "column.ui": "never",
    "core.quotepath": "false",
    "diff.autorefreshindex": "false",
    "diff.mnemonicprefix": "false",
    "diff.noprefix": "false",
}
_FOUND: Final = (
    (re.compile(r"filter\..*\.required", re.DOTALL), "false"),
    (re.compile(r"filter\..*\.(clean|smudge|process)", re.DOTALL), ""),
    (re.compile(r"merge\..*\.driver", re.DOTALL), "false"),
    (re.compile(r"(hook|diff)\..*\.command", re.DOTALL), ":"),
    (re.compile(r"diff\..*\.textconv", re.DOTALL), "cat"),
    (re.compile(r"gpg\..*\.program", re.DOTALL), "false"),
    (re.compile(r"credential\..*\.helper", re.DOTALL), ""),
    (re.compile(r"submodule\..*\.update", re.DOTALL), "none"),
)
_REFUSED: Final = re.compile(
    r"remote\..*\.(uploadpack|receivepack|vcs)|include(if\..*)?\.path|extensions\.refstorage", re.DOTALL
)
"""Of some git heeds the first it reads, which is the repository's, also when it fetches missing objects by itself; the
others are files and references kept elsewhere."""
_KEPT: Final = frozenset(
    {f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL", "DATE")}
    | {"GIT_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_HTTP_USER_AGENT"}
    | {"GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSL_CERT", "GIT_SSL_KEY", "GIT_SSL_CERT_PASSWORD_PROTECTED"}
)
"""Variables for git that a workspace may set; by others, meant for bash, git would read settings or files elsewhere."""
_SSH: Final = "ssh -F /dev/null -oBatchMode=yes -oIdentityFile=none"
"""Asks nobody, and has no keys but those of an agent that the workspace names."""
_NOWHERE: Final = "/dev/null"
"""For a folder that holds nothing and into which nobody can put anything."""
_MANY: Final = 200
"""Settings of such names that are overridden one by one; no honest repository has more."""


class Tamed(msgspec.Struct, frozen=True):
    """What git is started with on one repository."""

    env: dict[str, str]
    filters: tuple[str, ...]
    """The filters it configures, which are not run."""
    unknown: tuple[str, ...]
    """The settings of which nobody knows that they are harmless, given that no remote is spoken with."""
    risky: tuple[str, ...]
    """The same, given that one is."""


def base_environment(repository: Repository, extra: Mapping[str, str]) -> dict[str, str]:
    """Returns an environment in which git reads no configuration but the repository's, and asks nobody."""
    kept = {name: value for name, value in extra.items() if not name.startswith("GIT_") or name in _KEPT}
    ssh = {} if "GIT_SSH" in kept else {"GIT_SSH_COMMAND": _SSH}
    environment = clean_environment({**ssh, "GIT_ASKPASS": "", **kept})
    return environment | {
        "HOME": _NOWHERE,
        "XDG_CONFIG_HOME": _NOWHERE,
        "GIT_DIR": str(repository.git),
        "GIT_WORK_TREE": str(repository.tree),
        "GIT_CEILING_DIRECTORIES": str(repository.space.parent),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_EDITOR": ":",
        "GIT_SEQUENCE_EDITOR": ":",
        "GIT_MERGE_AUTOEDIT": "no",
        "GIT_PAGER": "cat",
        "LC_ALL": "C.UTF-8",
    }


def tame(base: Mapping[str, str], listing: bytes) -> Tamed:
    """Returns what git is started with, given its base and what `git config --list -z` printed in it.

    Raises:
        SandboxError: it names a program that cannot be overridden, or too many others.
    """
    settings = dict(_settings(listing))
    if refused := [key for key in settings if _REFUSED.fullmatch(_plain(key))]:
        raise SandboxError(
            f"the repository is not used: its configuration leads to a program or file elsewhere ({refused[0]!r}). "
            "Use git in bash if you trust it"
        )
    found = [(key, value) for key in settings for pattern, value in _FOUND if pattern.fullmatch(_plain(key))]
    if len(found) > _MANY:
        raise SandboxError(f"the repository is not used: its configuration names programs in {len(found)} places")
    environment = dict(base)
    overrides = [*_ALWAYS.items(), *found]
    environment["GIT_CONFIG_COUNT"] = str(len(overrides))
    for number, (key, value) in enumerate(overrides):
        environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    if not (settings.get("user.name") and settings.get("user.email")):
        environment |= {f"GIT_{who}_NAME": AGENT for who in ("AUTHOR", "COMMITTER")}
        environment |= {f"GIT_{who}_EMAIL": EMAIL for who in ("AUTHOR", "COMMITTER")}
    filters = tuple(sorted(key for key in settings if _FOUND[1][0].fullmatch(_plain(key))))
    overridden = {key for key, _ in overrides}
    unknown = [key for key in map(_plain, settings) if key not in overridden and not is_quiet(key)]
    return Tamed(environment, filters, tuple(key for key in unknown if not is_local(key)), tuple(unknown))


def _settings(listing: bytes) -> Iterable[tuple[str, str]]:
    for entry in listing.split(b"\0"):
        if entry:
            key, _, value = entry.decode("utf-8", "surrogateescape").partition("\n")
            yield key, value


def _plain(key: str) -> str:
    """The key with section and name as git compares them; the part between is the repository's own."""
    section, dot, rest = key.partition(".")
    middle, other, name = rest.rpartition(".")
    return f"{section.lower()}{dot}{middle}{other}{name.lower()}"
