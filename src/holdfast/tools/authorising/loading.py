"""Files into policies: YAML, or JSON, which is read the same way.

Everything that is wrong is said at once, each thing with its line and column and what to do about it. Nothing unknown
is passed over: a misspelled rule would allow what it was to forbid.
"""

from __future__ import annotations

from pathlib import Path

from holdfast.errors import UsageError
from holdfast.sandbox.policy.reading.files import contents, listed
from holdfast.tools.authorising.policy import Draft, Policy, policy_faults

__all__ = ("load_policy", "read_policy")


def load_policy(path: Path | str) -> Policy:
    """Returns the policy of a file.

    Raises:
        UsageError: there is no such file, or something is wrong with it; says all of it, as `read_policy` does.
    """
    return read_policy(contents(Path(path), "policy"), str(path))


def read_policy(data: bytes | str, name: str = "policy") -> Policy:
    """Returns the policy that a document says; `name` is the file's.

    Raises:
        UsageError: something is wrong with it; the message has a line for each thing, as `name:line:column: what`.
    """
    from holdfast.sandbox.policy.reading.decoding import Decoder, shown  # noqa: PLC0415 - brings YAML
    from holdfast.sandbox.policy.reading.documents import Mark, Problem, Table, parse  # noqa: PLC0415

    root, problems = parse(data)
    if not isinstance(root, Table):
        if root is not None or not data.strip():
            problems = [
                Problem(Mark(1, 1) if root is None else root.mark, "a policy has keys: begin it with `version: 1`")
            ]
        raise UsageError(listed(name, problems))
    decoder = Decoder()
    draft = decoder.struct(Draft, root, ())
    problems += decoder.problems
    for place, text in policy_faults(draft):
        if any(broken[: len(place)] == place[: len(broken)] for broken in decoder.broken):
            continue  # what is missing because it could not be read is no news
        at = place
        while at and at not in decoder.marks:
            at = at[:-1]
        problems.append(Problem(decoder.marks.get(at, root.mark), f"{shown(place)}: {text}"))
    if problems:
        raise UsageError(listed(name, sorted(problems)))
    return Policy(**{field: getattr(draft, field) for field in Draft.__struct_fields__})
