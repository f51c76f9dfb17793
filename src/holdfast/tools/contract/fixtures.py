"""What a tool is tried with: a list of calls, and what each has to come to; from YAML or JSON.

- name: adds two numbers
input: {a: 1, b: 2}
expected_output: "3"
- name: refuses letters
input: {a: x}
expected_status: error
expected_code: invalid_input
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Literal

import msgspec

from holdfast.errors import UsageError

__all__ = ("Fixture", "Group", "load_fixtures")

Group = Literal["contract", "timeout", "retry", "auth", "policy", "isolation", "observability", "determinism"]
"""What a check is about."""
_LARGEST: Final = 4 * 1024 * 1024
"""Bytes of a file of fixtures."""


class Fixture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call.

    Raises:
        UsageError: a number is none that can be meant.
    """

    name: str
    input: dict[str, Any] = {}
    expected_status: Literal["ok", "error", "denied"] = "ok"
    expected_output: Any = msgspec.UNSET
    """What its `result` is, to the letter; left out where it may be anything."""
    expected_contains: str = ""
    """What the text of its result holds."""
    expected_code: str = ""
    expected_reason: str = ""
    expected_retryable: bool | None = None
    timeout: float = 30.0
    """Seconds after which the call is left. Where the code that is expected is `timeout`, that is how it has to end:
    by the tool's own word, or because it was left."""
    max_latency: float | None = None
    """Seconds within which it has to be answered; None for any time."""
    deterministic: bool = True
    """Whether the same call has the same result once more. Leave it out for whatever tells the time or rolls dice."""
    cancel: bool = False
    """Whether it takes long enough to be cancelled on its way, which is then checked."""
    group: Literal["contract", "auth", "policy", "isolation"] = "contract"
    """What its result says something about."""

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise UsageError("a fixture has no name: say in a word or two what it tries")
        if not 0 < self.timeout <= 3600 or not 0 < (self.max_latency or 1) <= 3600:
            raise UsageError(f"fixture {self.name!r}: a time is over 0 and at most an hour, in seconds")
        if self.expected_status == "ok" and self.expected_code:
            raise UsageError(f"fixture {self.name!r} expects a code, so its expected_status is error or denied")


def load_fixtures(data: bytes, where: str = "fixtures") -> tuple[Fixture, ...]:
    """Returns the fixtures that a file holds, a list of them, as YAML or JSON.

    Raises:
        UsageError: it holds none; says where and why.
    """
    import yaml  # noqa: PLC0415 - with the first file

    if len(data) > _LARGEST:
        raise UsageError(f"{where}: {len(data):,} bytes are too many for fixtures; {_LARGEST:,} are the most")
    try:
        found = yaml.load(data.decode("utf-8"), Loader=_loader())
        fixtures = msgspec.convert(found, tuple[Fixture, ...])
    except (yaml.YAMLError, UnicodeDecodeError, msgspec.ValidationError, RecursionError, ValueError) as error:
        raise UsageError(f"{where}: it holds no list of fixtures: {error}") from None
    names = Counter(each.name for each in fixtures)
    if twice := [name for name, many in names.items() if many > 1]:
        raise UsageError(f"{where}: two fixtures are called {min(twice)!r}; name each by what it tries")
    if not fixtures:
        raise UsageError(f"{where}: it holds no fixture; write at least one call with what it comes to")
    return fixtures


def _loader() -> type[Any]:
    """Returns a loader of plain values: no types of Python, and no aliases, with which few bytes become many."""
    import yaml  # noqa: PLC0415

    class Plain(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not read: write it out")
            return super().compose_node(parent, index)

    return Plain
