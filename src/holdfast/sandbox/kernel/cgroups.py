"""Control groups: limits on all processes of a group together, in the old layout with one tree for each kind of
limit, in the new one with a single tree, and in hosts that have both.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Final

__all__ = ("Group", "Groups")

_ROOT = "/sys/fs/cgroup"
_OURS = "holdfast"
_PROBE = "probe-"
KINDS: Final = ("memory", "cpu", "pids")
_PERIOD = 100_000
"""µs over which CPU is counted."""


class Groups:
    """What this host lets us limit; `of` makes a group by its name."""

    def __init__(self, root: str = _ROOT) -> None:
        self.missing: dict[str, str] = {}
        """Kinds that cannot be limited, and why."""
        self._unified = os.path.exists(f"{root}/cgroup.controllers")
        self._trees: dict[str, str] = {}
        for kind in KINDS:
            self._find(root, kind)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What can be limited."""
        return tuple(self._trees)

    def _find(self, root: str, kind: str) -> None:
        tree = f"{root}/{_OURS}" if self._unified else f"{root}/{kind}/{_OURS}"
        try:
            if self._unified:
                _write(f"{root}/cgroup.subtree_control", f"+{kind}")
                os.makedirs(tree, exist_ok=True)
                _write(f"{tree}/cgroup.subtree_control", f"+{kind}")
            else:
                os.makedirs(tree, exist_ok=True)
            probe = f"{tree}/{_PROBE}{os.getpid()}"
            os.makedirs(probe, exist_ok=True)
            with suppress(FileNotFoundError):  # another one has just put away what it found
                os.rmdir(probe)
        except OSError as error:
            self.missing[kind] = f"{tree} cannot be used ({error.strerror}): run as root, or have the group delegated"
            return
        self._trees[kind] = tree

    def of(self, name: str) -> Group:
        """Returns the group of that name, new and empty: what an earlier one left is killed."""
        group = Group({kind: f"{tree}/{name}" for kind, tree in self._trees.items()}, unified=self._unified)
        group.clear()
        for place in group.places:
            os.makedirs(place, exist_ok=True)
        return group

    def left(self) -> set[str]:
        """Returns the names of all groups there are, once those with which somebody tried what works are put away."""
        names: set[str] = set()
        for tree in self._trees.values():
            here = set[str]()
            with suppress(OSError), os.scandir(tree) as found:
                here = {each.name for each in found if each.is_dir(follow_symlinks=False)}
            for name in [each for each in here if each.startswith(_PROBE)]:  # nobody is ever in one
                here.remove(name)
                with suppress(OSError):
                    os.rmdir(f"{tree}/{name}")
            names |= here
        return names


class Group:
    """One group of processes."""

    def __init__(self, places: dict[str, str], *, unified: bool) -> None:
        self.kinds = places
        """Its folder for each kind of limit."""
        self.unified = unified
        """Whether that is one and the same, in a single tree."""
        self._limits: tuple[float | None, ...] = ()

    @property
    def places(self) -> list[str]:
        """The folders it is."""
        return list(dict.fromkeys(self.kinds.values()))

    def limit(self, *, memory: int | None = None, cpus: float | None = None, pids: int | None = None) -> None:
        """Sets what all its processes may use together: bytes, processors, processes and threads; None for no bound."""
        if self._limits == (wanted := (memory, cpus, pids)):
            return
        for kind, set_limit, most in (
            ("memory", self._limit_memory, memory),
            ("cpu", self._limit_cpu, cpus),
            ("pids", self._limit_pids, pids),
        ):
            if kind in self.kinds:
                set_limit(self.kinds[kind], most)
        self._limits = wanted

    def _limit_memory(self, place: str, most: float | None) -> None:
        if self.unified:
            _write(f"{place}/memory.max", "max" if most is None else str(int(most)))
            with suppress(OSError):
                _write(f"{place}/memory.swap.max", "max" if most is None else "0")
            return
        with suppress(OSError):  # not every kernel counts swap; and it is never less than memory alone
            _write(f"{place}/memory.memsw.limit_in_bytes", "-1")
        _write(f"{place}/memory.limit_in_bytes", "-1" if most is None else str(int(most)))
        if most is not None:
            with suppress(OSError):
                _write(f"{place}/memory.memsw.limit_in_bytes", str(int(most)))

    def _limit_cpu(self, place: str, most: float | None) -> None:
        if self.unified:
            _write(f"{place}/cpu.max", f"{'max' if most is None else int(most * _PERIOD)} {_PERIOD}")
        else:
            _write(f"{place}/cpu.cfs_quota_us", "-1" if most is None else str(int(most * _PERIOD)))

    def _limit_pids(self, place: str, most: float | None) -> None:
        _write(f"{place}/pids.max", "max" if most is None else str(int(most)))

    def join(self) -> None:
        """Puts the calling process into it."""
        for place in self.places:
            _write(f"{place}/cgroup.procs", "0")

    def breaches(self) -> dict[str, int]:
        """Returns how often a limit was hit, by `memory` (somebody was killed) and `pids` (a fork was refused)."""
        counts: dict[str, int] = {}
        if (place := self.kinds.get("memory")) is not None:
            counts["memory"] = _count(f"{place}/memory.{'events' if self.unified else 'oom_control'}", "oom_kill")
        if (place := self.kinds.get("pids")) is not None:
            counts["pids"] = _count(f"{place}/pids.events", "max")
        return counts

    def lasting(self) -> int:
        """Returns the bytes of memory that belong to no process: files in memory, and what is shared by number."""
        if (place := self.kinds.get("memory")) is None:
            return 0
        return _count(f"{place}/memory.stat", "shmem")

    def processes(self) -> list[int]:
        """Returns the numbers of its processes."""
        found: set[int] = set()
        for place in self.places:
            with suppress(OSError), open(f"{place}/cgroup.procs", encoding="ascii") as file:
                found |= {int(line) for line in file}
        return sorted(found)

    def clear(self) -> bool:
        """Kills what is in it, and removes it; False where something is not gone yet."""
        for pause in (0, 0, 0.001, 0.004, 0.016, 0.064, 0.25):  # what ends is not out of it at once
            if not any(os.path.exists(place) for place in self.places):
                return True
            for pid in self.processes():
                with suppress(OSError):
                    os.kill(pid, 9)
            time.sleep(pause)
            for place in self.places:
                with suppress(OSError):
                    os.rmdir(place)
        return not any(os.path.exists(place) for place in self.places)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _count(path: str, name: str) -> int:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            lines = os.read(descriptor, 4096).decode("ascii").splitlines()
        finally:
            os.close(descriptor)
        for line in lines:
            word, _, number = line.partition(" ")
            if word == name:
                return int(number)
    return 0
