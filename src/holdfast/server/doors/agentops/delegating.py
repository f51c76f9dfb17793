"""Jobs that one agent gives to others, as the event protocol tells of them: groups, of one or of several.

A group is what one turn gave away. It is announced once all of it is known, and over when each of it is.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import final

import msgspec

from holdfast.engine.events import WaitResolved
from holdfast.server.doors.agentops import shapes as fep
from holdfast.types import Wait

__all__ = ("Delegations",)

_NEVER = "9999-12-31T23:59:59Z"
"""The deadline of what may take any time: the protocol has a time there."""


class _Child(msgspec.Struct):
    name: str
    agent: str
    began: str
    run: fep.ChildRun | None = None
    late: bool = False


class _Group(msgspec.Struct):
    id: str
    began: str
    children: dict[str, _Child]
    """By the tokens of their waits."""


@final
class Delegations:
    """Groups of jobs of one run."""

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._coming: dict[str, tuple[Wait, str]] = {}
        """What was given away and not announced yet."""
        self._groups: list[_Group] = []
        self.waits: set[str] = set()
        """Calls of this turn that wait."""

    def began(self, wait: Wait, now: str) -> None:
        """Takes note of a job that was given away."""
        if not self.knows(wait.token):
            self._coming[wait.token] = (wait, now)

    def knows(self, token: str) -> bool:
        """Whether that is a job's."""
        return token in self._coming or any(token in group.children for group in self._groups)

    def announce(self, now: str) -> list[fep.Fep]:
        """Returns the event that begins a group; nothing where nothing was given away since."""
        if not self._coming:
            return []
        coming, self._coming = self._coming, {}
        id = "grp-" + hashlib.sha256("\n".join(coming).encode("utf-8", "replace")).hexdigest()[:16]
        children = {
            token: _Child(wait.subject or token, wait.prompt.partition(":")[0], began)
            for token, (wait, began) in coming.items()
        }
        self._groups.append(_Group(id, min(began for _, began in coming.values()), children))
        deadlines = [wait.deadline for wait, _ in coming.values()]
        latest = max([each for each in deadlines if each is not None], default=None)
        timeout = _NEVER if latest is None or None in deadlines else _time(latest)
        names = tuple(each.name for each in children.values())
        if len(names) == 1:
            return [
                fep.DelegationSingle(
                    timestamp=now, groupId=id, runName=names[0], timeout=timeout, parentAgent=self._agent
                )
            ]
        return [
            fep.DelegationFanOut(
                timestamp=now, groupId=id, count=len(names), timeout=timeout, runNames=names, parentAgent=self._agent
            )
        ]

    def ended(self, data: WaitResolved, now: str) -> list[fep.Fep]:
        """Returns what the end of one job comes to; with the last one of its group, what the group came to."""
        group = next((each for each in self._groups if data.token in each.children), None)
        if group is None or group.children[data.token].run is not None:
            return []
        child = group.children[data.token]
        child.late, took = data.content is None, _between(child.began, now)
        child.run = _run_of(child, data, took)
        left = sum(each.run is None for each in group.children.values())
        told: list[fep.Fep] = [
            fep.DelegationRunCompleted(
                timestamp=now,
                groupId=group.id,
                runName=child.name,
                childAgent=child.agent,
                phase=child.run.phase,
                duration=took,
                remaining=left,
                parentAgent=self._agent,
            )
        ]
        return told if left else told + self._over(group, now)

    def _over(self, group: _Group, now: str) -> list[fep.Fep]:
        runs = {each.name: each.run for each in group.children.values() if each.run is not None}
        late = sum(each.late for each in group.children.values())
        good = sum(each.phase == "Succeeded" for each in runs.values())
        single, took, failed = len(runs) == 1, _between(group.began, now), len(runs) - good
        told: list[fep.Fep] = []
        if late:
            told.append(
                fep.DelegationTimeout(
                    timestamp=now,
                    groupId=group.id,
                    completed=len(runs) - late,
                    timedOut=late,
                    parentAgent=self._agent,
                )
            )
        else:
            told.append(
                fep.DelegationAllCompleted(
                    timestamp=now,
                    groupId=group.id,
                    single=single,
                    succeeded=good,
                    failed=failed,
                    totalDuration=took,
                    parentAgent=self._agent,
                )
            )
        told.append(
            fep.DelegationResult(
                timestamp=now,
                groupId=group.id,
                single=single,
                timedOut=bool(late),
                totalDuration=took,
                succeeded=good,
                failed=failed,
                runs=runs,
                parentAgent=self._agent,
            )
        )
        return told


def _run_of(child: _Child, data: WaitResolved, took: str) -> fep.ChildRun:
    if data.content is None:
        return fep.ChildRun(agentName=child.agent, phase="TimedOut", duration=took, failureReason="it took too long")
    bad = data.is_error or (data.outcome is not None and data.outcome.status != "completed")
    return fep.ChildRun(
        agentName=child.agent,
        phase="Failed" if bad else "Succeeded",
        output="" if bad else data.content,
        duration=took,
        failureReason=data.content if bad else "",
    )


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _between(began: str, ended: str) -> str:
    """Returns a time as Go writes it, in whole seconds."""
    return f"{max(0, int((datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()))}s"
