"""Which settings of a repository's configuration git may heed when it writes or speaks with a remote.

A list of what is allowed: git has settings by the hundred, gets more with each version, and some send what a pull
carries through a stranger's proxy or write over a file of the user. What is not known to be harmless is refused by
name. Besides these a setting is fine that `taming.py` overrides.

For looking there is no such list. A look writes nothing and reaches no remote (git is allowed no protocol), and the
settings by which it would run a program or read a file from elsewhere are overridden or refused there.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ("is_local", "is_quiet")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SECTIONS: Final = _words(
    "advice alias author color column committer diff feature gitflow gitk gui i18n index lfs log pack rebase receive "
    "rerere stash status submodule tag uploadpack user"
)
"""Sections of which no setting leads anywhere, or none that is heeded here."""
_NAMES: Final = {
    "branch": _words("autosetupmerge autosetuprebase sort"),
    "checkout": _words("defaultremote guess"),
    "commit": _words("cleanup status verbose"),
    "core": _words(
        "abbrev autocrlf bare bigfilethreshold checkstat commentchar commitgraph compression eol filemode fscache "
        "hidedotfiles ignorecase logallrefupdates longpaths loosecompression multipackindex precomposeunicode "
        "preloadindex repositoryformatversion safecrlf sharedrepository sparsecheckout sparsecheckoutcone splitindex "
        "symlinks trustctime untrackedcache whitespace worktree"
    ),
    "extensions": _words("compatobjectformat noop objectformat preciousobjects relativeworktrees worktreeconfig"),
    "fetch": _words("fsckobjects negotiationalgorithm output parallel prune prunetags showforcedupdates unpacklimit"),
    "gpg": _words("format"),
    "init": _words("defaultbranch"),
    "mailmap": _words("blob"),
    "merge": _words("conflictstyle defaulttoupstream directoryrenames ff guitool log renamelimit renames stat tool"),
    "protocol": _words("version"),
    "pull": _words("ff rebase"),
    "push": _words("autosetupremote default followtags useforceifincludes"),
    "remote": _words("pushdefault"),
    "transfer": _words("credentialsinurl fsckobjects unpacklimit"),
}
"""`section.name`"""
_PARTS: Final = {
    "branch": _words("description merge pushremote rebase remote"),
    "merge": _words("name recursive"),
    "remote": _words("fetch followremotehead prune prunetags push pushurl skipdefaultupdate skipfetchall tagopt url"),
}
"""`section.<of the repository's choosing>.name`"""
_REMOTE: Final = re.compile(
    r"(bundle|credential|fetch|http|protocol|push|remote|ssh|transfer|url)\..*|core\.(askpass|gitproxy|sshcommand)"
    r"|extensions\.partialclone",
    re.DOTALL,
)
"""What matters only to a git that speaks with a remote."""


def is_quiet(key: str) -> bool:
    """Whether a setting leads git to no file, program or host, also when it speaks with a remote.

    Section and name of the key are in lower case.
    """
    section, _, rest = key.partition(".")
    part, dot, name = rest.rpartition(".")
    if section in _SECTIONS:
        return True
    if not dot:
        return name in _NAMES.get(section, ())
    # Other tools keep settings of their own here, with dashes, which names of git's own never have.
    return name in _PARTS.get(section, ()) or (section in ("branch", "remote") and "-" in name and bool(part))


def is_local(key: str) -> bool:
    """Whether a setting leads git to no file or program when it may speak with no remote."""
    return is_quiet(key) or _REMOTE.fullmatch(key) is not None
