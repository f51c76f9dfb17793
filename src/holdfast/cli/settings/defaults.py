"""What commands take from the settings where no option says otherwise, read once in a process for each folder."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from holdfast.errors import UsageError
from holdfast.errors.hinting import closest
from holdfast.models.routing.tiers import Tiers
from holdfast.runtime.opening import data_url
from holdfast.runtime.runtime import Runtime
from holdfast.runtime.sandboxes import hidden_at
from holdfast.runtime.settings import Settings, load_settings, tiers_of
from holdfast.sandbox.policy.profile import BackendName, Profile
from holdfast.sandbox.port import Backend

if TYPE_CHECKING:
    from holdfast.models.access.access import Access
    from holdfast.tools.authorising.policy import Policy
    from holdfast.types import AgentSpec

__all__ = (
    "access",
    "default_store",
    "doubted",
    "hide_store",
    "open_runtime",
    "policy_of",
    "profile",
    "settings",
    "store_url",
    "warn",
)


def settings(folder: Path | None = None) -> Settings:
    """Returns what holds in a folder, by default this one.

    Raises:
        UsageError: a file or a variable says something that is no setting; the message says where.
    """
    return _loaded(str((folder or Path()).resolve()))


@functools.cache
def _loaded(folder: str) -> Settings:
    return load_settings(Path(folder), os.environ)


def default_store() -> str:
    """Returns the store that commands use when none is named."""
    return settings().store or data_url("holdfast.db")


def store_url(given: str | None) -> str:
    """Returns the store an option names, or the default one."""
    return given or default_store()


def open_runtime(
    url: str,
    sandbox: str | None = None,
    policy: Path | None = None,
    *,
    policies: Sequence[Policy] = (),
    **more: Any,
) -> AbstractAsyncContextManager[Runtime]:
    """Returns the runtime of a store, to be entered, whose commands run in the sandbox that is named or set, and whose
    calls the policy of that file, or the one that is set, decides about, and `policies` beside it.

    Raises:
        UsageError: there is no such sandbox, and no file of that name; or a file holds no profile, or no policy.
    """
    held, rulings = settings(), policy_of(policy)
    if rulings is not None:
        _say_doubts()
    names: dict[str, Any] = {
        "aliases": held.aliases,
        "tiers": Tiers(held.tiers, read=tiers_of(os.environ)),
        "provider": held.provider,
        "facts": held.facts,
        "access": access(held),
        "policy": [*([] if rulings is None else [rulings]), *policies] if policies else rulings,
    }
    return Runtime.open(url, sandbox=profile(held.sandbox if sandbox is None else sandbox), **{**names, **more})


def hide_store(backend: Backend, folder: Path) -> None:
    """Lets no command of a backend that works in a folder see the store that commands use when none is named.

    A store that lies in there and is not made yet gets its folder, or a command could put one in its place.

    Raises:
        UsageError: the folder for it cannot be made.
    """
    paths = hidden_at(default_store())
    for each in paths if backend.posture.backend != "none" else ():
        if each.is_relative_to(folder):
            try:
                each.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"the store's folder {str(each.parent)!r} cannot be made: {error.strerror}") from error
    backend.hide(paths)


def access(held: Settings) -> Access | None:
    """Returns the servers that the settings describe; None where they describe none.

    Raises:
        UsageError: one lacks a field, or holds what it cannot; the message names both.
    """
    if not (servers := held.servers):
        return None
    from holdfast.models.access.access import Access

    return Access(servers=servers)


def profile(named: str) -> Profile:
    """Returns the profile of a name: a backend's, or that of the file that holds one.

    Raises:
        UsageError: there is neither, or the file holds something else.
    """
    if named in get_args(BackendName):
        return Profile(backend=cast("BackendName", named))
    path = Path(named).expanduser()
    if not path.is_file():
        names = ", ".join(get_args(BackendName))
        # The one that isolates nothing is nobody's misspelling: who wants it writes it.
        if near := closest(named, (name for name in get_args(BackendName) if name != "none")):
            raise UsageError(f"there is no sandbox {named!r}, nor a file of that name: did you mean {near!r}?")
        raise UsageError(f"there is no sandbox {named!r}, nor a file of that name: one of {names}, or a profile's file")
    from holdfast.sandbox.policy.loading import load_profile

    return load_profile(path.read_text("utf-8", "replace"), str(path))


def policy_of(given: Path | None) -> Policy | None:
    """Returns the policy of a file that an option names, or of the one that is set; None where there is neither.

    Raises:
        UsageError: it cannot be read, or something is wrong with it; the message has a line for each thing.
    """
    held = settings().policy
    path = given or (None if held is None else Path(held).expanduser())
    if path is None:
        return None
    from holdfast.tools.authorising.loading import load_policy

    return load_policy(path)


def warn(held: Settings) -> None:
    """Says on standard error what was passed over in a project's file."""
    for note in held.notes:
        clean = "".join(letter if letter.isprintable() else "\ufffd" for letter in note)
        print(f"note {clean}", file=sys.stderr)


def _say_doubts() -> None:
    """Has what is doubtful about a policy said in a line, as other notes are."""
    from holdfast.tools.authorising.doubting import PolicyDoubt

    usual = warnings.formatwarning

    def said(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> str:
        if issubclass(category, PolicyDoubt):
            return "note " + "".join(letter if letter.isprintable() else "\ufffd" for letter in str(message)) + "\n"
        return usual(message, category, *where, **more)

    warnings.formatwarning = said


def doubted(policy: Policy | None, agent: AgentSpec) -> list[str]:
    """Returns what looks misspelled in a policy, seen from an agent; whoever is told here is not warned of it again."""
    if policy is None:
        return []
    from holdfast.runtime.configuring.policing import doubts_of
    from holdfast.tools.authorising.doubting import PolicyDoubt

    warnings.simplefilter("ignore", PolicyDoubt)
    return doubts_of(policy, agent, "local", agent.tools, settings().servers)
