"""Documents into profiles and policies.

Two kinds of documents: ours begins with `kind: SandboxProfile` and has a policy inside, and a pure policy is one of
OpenShell's, unchanged. Both are read by the same rules, and everything that is wrong with one is said at once, each
thing with its line and what to do about it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from holdfast.errors import UsageError
from holdfast.sandbox.policy.checking.policies import policy_faults, profile_faults
from holdfast.sandbox.policy.openshell import Policy
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.policy.reading.decoding import Decoder, Place, shown
from holdfast.sandbox.policy.reading.documents import Leaf, Mark, Problem, Table, parse
from holdfast.sandbox.policy.reading.files import listed

__all__ = ("KIND", "Document", "Mark", "Problem", "examine", "load", "load_profile")

KIND: Final = "SandboxProfile"
_PROFILES: Final = frozenset(Profile.__struct_fields__)


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A document that was read."""

    value: Profile | Policy
    """What it says, as far as it could be read."""
    marks: dict[Place, Mark] = {}
    """Where in the text each part of the value stands."""
    problems: tuple[Problem, ...] = ()
    """What is wrong with it, in the order of its lines; a value with problems is not to be used."""

    @property
    def profile(self) -> Profile:
        """The profile; around a pure policy one that says nothing else."""
        return self.value if isinstance(self.value, Profile) else Profile(policy=self.value)

    @property
    def policy(self) -> Policy:
        """The policy, with or without a profile around it."""
        return self.value.policy if isinstance(self.value, Profile) else self.value

    @property
    def wrapped(self) -> bool:
        """Whether there is a profile around its policy, so that places in the policy begin with `policy`."""
        return isinstance(self.value, Profile)

    def mark(self, place: Place) -> Mark:
        """Returns where a part of its value stands in the text, or what is closest around it."""
        return _mark_in(self.marks, place)


def _mark_in(marks: dict[Place, Mark], place: Place) -> Mark:
    while place and place not in marks:
        place = place[:-1]
    return marks.get(place, Mark(1, 1))


def load(data: str | bytes, name: str = "policy") -> Profile | Policy:
    """Returns the profile of a `kind: SandboxProfile` document, or the policy of a pure one; `name` is the file's.

    Raises:
        UsageError: something is wrong with it; the message has all of it, a line each, as `name:line:column: what`.
    """
    document = examine(data)
    if not document.problems:
        return document.value
    raise UsageError(listed(name, document.problems))


def load_profile(data: str | bytes, name: str = "policy") -> Profile:
    """Returns the profile of a document; a pure policy gets one around it that says nothing else.

    Raises:
        UsageError: something is wrong with it, as `load` says.
    """
    value = load(data, name)
    return value if isinstance(value, Profile) else Profile(policy=value)


def examine(data: str | bytes) -> Document:
    """Returns what a document says, and what is wrong with it."""
    root, problems = parse(data)
    if not isinstance(root, Table):
        if root is not None:
            problems.append(Problem(root.mark, "a policy has keys; begin it with `version: 1`"))
        return Document(value=Policy(), problems=tuple(problems))
    decoder = Decoder()
    kind = root.entries.pop("kind", None)
    value: Profile | Policy
    if kind is None and _PROFILES.isdisjoint(root.entries):
        value = policy = decoder.struct(Policy, root, ())
        _needs_version(decoder, root, ())
        faults = list(policy_faults(policy))
    else:
        if kind is None:
            decoder.problems.append(Problem(root.mark, f"this looks like a profile; begin it with `kind: {KIND}`"))
        elif not isinstance(kind[1], Leaf) or kind[1].text != KIND:
            decoder.problems.append(Problem(kind[1].mark, f"the only kind there is, is {KIND}; write that"))
        value = profile = decoder.struct(Profile, root, ())
        inner = root.entries.get("policy")
        if inner is not None and isinstance(inner[1], Table):
            _needs_version(decoder, inner[1], ("policy",))
        inside = policy_faults(profile.policy)
        faults = [*profile_faults(profile), *((("policy", *place), text) for place, text in inside)]
    problems += decoder.problems
    problems += (_placed(decoder, place, text) for place, text in faults if not _follows(decoder, place))
    return Document(value=value, marks=decoder.marks, problems=tuple(sorted(problems)))


def _needs_version(decoder: Decoder, table: Table, place: Place) -> None:
    if "version" not in table.entries:
        decoder.problems.append(Problem(table.mark, f"{shown(place)} has no `version`; write `version: 1`"))


def _placed(decoder: Decoder, place: Place, text: str) -> Problem:
    return Problem(_mark_in(decoder.marks, place), f"{shown(place)}: {text}")


def _follows(decoder: Decoder, place: Place) -> bool:
    """Whether something around, at or inside a place could not be read: what is missing there is no news."""
    return any(broken[: len(place)] == place[: len(broken)] for broken in decoder.broken)
