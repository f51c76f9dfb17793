"""The launcher: a small process that forks sandboxes, and sees to their ends.

A big parent forks slowly, and one with threads must not fork at all; so the runtime starts this, once, and asks. It
ends, with everything it started, when the runtime's end of the socket closes. It loads the standard library, the
kernel's calls and its neighbours, and nothing else: `python -I -S`.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from holdfast.sandbox.kernel import seccomp, syscalls
from holdfast.sandbox.kernel.cgroups import Group, Groups
from holdfast.sandbox.native.blanks import FIRST, Blank, name_process
from holdfast.sandbox.native.building import Step, begin, build, namespaces
from holdfast.sandbox.native.serving import serve
from holdfast.sandbox.native.slots import FIRST_UID, PLACES, Slots, folder, start_of
from holdfast.sandbox.native.talking.wire import receive, send

__all__ = ("SandboxLauncher", "main", "user_namespace")

_TIDIED = 64
"""Files of places that are looked at when a launcher starts: a few each time, so that none starts slowly."""

_SPARE = 64
"""Places that were used and are kept for the next sandboxes: their groups need not be made anew."""
_PAUSE = 10
"""ms in which nothing is asked for, after which the next first process is forked: both would wait for the same
locks.
"""


class _Sandbox:
    def __init__(self, place: int, pid: int, descriptor: int, group: Group | None, admitted: int) -> None:
        self.place = place
        self.admitted = admitted
        """What it counts by where the number of sandboxes is limited; -1 elsewhere."""
        self.pid = pid
        self.descriptor = descriptor
        self.group = group
        self._before = group.breaches() if group is not None else {}

    def breaches(self) -> dict[str, int]:
        """Returns how often its limits were hit."""
        if self.group is None:
            return {}
        return {name: count - self._before.get(name, 0) for name, count in self.group.breaches().items()}


class SandboxLauncher:
    """Makes sandboxes in namespaces; one without differs in what it overrides."""

    blanks = True
    """Whether the next first process is forked before it is wanted."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._rootless = os.geteuid() != 0
        self._slots = Slots(folder())
        self._groups = Groups()
        self._filter = seccomp.program()
        self._sandboxes: dict[int, _Sandbox] = {}
        """By the numbers the runtime gave them."""
        self._owners: dict[tuple[int, int, int], int] = {}
        """User namespaces that map an owner of files to a sandbox's user."""
        self._spare: dict[int, Group | None] = {}
        """Places that were used before, and stay ours with their groups: the kernel takes a while to remove one."""
        self._blank: Blank | None = None
        """The next first process, once there was one before."""
        self._wanted = False
        """Whether it is to be forked."""
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        self._sweep()

    def run(self) -> None:
        """Does what comes over the channel until that ends, then ends every sandbox."""
        try:
            send(self._channel, {"ready": os.getpid(), "cgroups": self._groups.kinds, "without": self._groups.missing})
            while True:
                found = self._poll.poll(_PAUSE if self._wanted else None)
                if self._wanted and not found:
                    self._prepare()
                for descriptor, _ in found:
                    if descriptor == self._channel.fileno():
                        self._hear()
                    else:
                        self._ended(descriptor)
        except (EOFError, ConnectionError):
            pass
        finally:
            for each in list(self._sandboxes.values()):
                with suppress(OSError):
                    signal.pidfd_send_signal(each.descriptor, signal.SIGKILL)
            self._drop_blank()
            for number in list(self._sandboxes):
                self._bury(number)
            for place, group in self._spare.items():
                if group is None or group.clear():
                    self._slots.give_back(place)

    def _sweep(self) -> None:
        """Removes groups whose places nobody holds: somebody was killed."""
        for name in self._groups.left():
            if name.isdigit() and self._slots.try_take(int(name)):
                self._groups.of(name).clear()
                self._slots.give_back(int(name))
        self._slots.tidy(_TIDIED)

    def _hear(self) -> None:
        message, descriptors = receive(self._channel)
        number = message["sandbox"]
        try:
            if message["do"] == "make":
                self._make(number, message["plan"], descriptors)
            elif message["do"] == "end" and (found := self._sandboxes.get(number)) is not None:
                signal.pidfd_send_signal(found.descriptor, signal.SIGKILL)
        finally:
            for each in descriptors:
                os.close(each)

    def _make(self, number: int, plan: dict[str, Any], descriptors: list[int]) -> None:
        place, group, admitted, pid, descriptor = -1, None, -1, 0, -1
        try:
            if not descriptors:
                raise OSError(errno.EMFILE, "the launcher has too many files open")
            if plan.get("most"):
                admitted = self._slots.admit(plan["most"])
            place, group = self._take() if self._blank is None else (self._blank.place, self._blank.group)
            if group is not None:
                group.limit(**plan["group"])
            owners = self._settle(plan, place)
            pid, descriptor = self._begin(plan, owners, descriptors[0]) or self._fork(
                plan, group, owners, descriptors[0]
            )
            self._slots.describe(place, {**plan["whose"], "pid": pid, "start": start_of(pid)})
        except OSError as error:
            self._take_back(place, group, admitted, pid, descriptor)
            code = error.errno or 0
            full = code == errno.EDQUOT and place < 0
            why = error.strerror if full else str(error)
            send(self._channel, {"sandbox": number, "error": why, "errno": code, "full": full})
            return
        self._sandboxes[number] = _Sandbox(place, pid, descriptor, group, admitted)
        self._poll.register(descriptor, select.POLLIN)
        self._wanted = self.blanks and self._blank is None
        grouped = {"group": None} if group is None else {"group": group.kinds, "unified": group.unified}
        send(self._channel, {"sandbox": number, "pid": pid, "place": place, **grouped, **plan.get("told", {})})

    def _take(self) -> tuple[int, Group | None]:
        """Returns a place that is ours, and its group where there are any."""
        place, group = self._spare.popitem() if self._spare else (self._slots.take(), None)
        try:
            return place, group or (self._groups.of(str(place)) if self._groups.kinds else None)
        except OSError:
            self._spare[place] = None
            raise

    def _begin(self, plan: dict[str, Any], owners: int, channel: int) -> tuple[int, int] | None:
        """Has the process that waits become a sandbox; None where there is none, or somebody killed it."""
        if (blank := self._blank) is None:
            return None
        self._blank = None
        self._poll.unregister(blank.descriptor)
        try:
            blank.begin(plan, [channel, owners] if owners else [channel])
        except OSError:
            blank.drop()
            return None
        return blank.pid, blank.descriptor

    def _prepare(self) -> None:
        """Forks the next first process; where that cannot be, the next sandbox is forked when it is asked for."""
        self._wanted = False
        place, group = -1, None
        try:
            place, group = self._take()
            ready: Callable[[], object] = partial(begin, group, [])
            become = partial(_go_on, self._filter)
            self._blank = Blank.fork(place, group, namespaces(rootless=self._rootless), ready, become)
        except OSError:
            if place >= 0:
                self._spare[place] = group
            return
        self._poll.register(self._blank.descriptor, select.POLLIN)

    def _drop_blank(self) -> None:
        if (blank := self._blank) is not None:
            self._blank = None
            self._poll.unregister(blank.descriptor)
            blank.drop()
            self._spare[blank.place] = blank.group

    def _settle(self, plan: dict[str, Any], place: int) -> int:
        """Completes a plan with what its place gives, and returns the user namespace of its owner's files, if any."""
        own = (os.getuid(), os.getgid()) if self._rootless else (FIRST_UID + place, FIRST_UID + place)
        plan |= {"rootless": self._rootless, "kuid": own[0], "kgid": own[1]}
        for each in plan["mounts"]:
            if each.get("uid") == "own":  # in a user namespace, by its name in there
                each["uid"] = plan["uid"] if self._rootless else plan["kuid"]
            each["userxattr"] = self._rootless
        return 0 if self._rootless else self._map(plan["kuid"], *plan["owner"])

    def _take_back(self, place: int, group: Group | None, admitted: int, pid: int, descriptor: int) -> None:
        """Leaves nothing of a sandbox whose making failed half-way."""
        if pid:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(descriptor)
        if place >= 0:
            self._clean(place)
            with suppress(OSError):
                self._slots.blank(place)
            self._spare[place] = group
        self._slots.dismiss(admitted)

    def _fork(self, plan: dict[str, Any], group: Group | None, owners: int, channel: int) -> tuple[int, int]:
        pid, descriptor = syscalls.fork_into(namespaces(rootless=self._rootless))
        if pid == 0:
            _become_first(plan, owners, self._filter, channel, partial(begin, group))
        return pid, descriptor

    def _map(self, kuid: int, uid: int, gid: int) -> int:
        """Returns a user namespace in which the owner of files is the sandbox's user."""
        key = (kuid, uid, gid)
        if key not in self._owners:
            if len(self._owners) >= 256:
                os.close(self._owners.pop(next(iter(self._owners))))
            # Who is not of a place has its files made by our root, which serves them to it.
            self._owners[key] = user_namespace(kuid, uid, gid, as_root=kuid < FIRST_UID)
        return self._owners[key]

    def _ended(self, descriptor: int) -> None:
        if self._blank is not None and self._blank.descriptor == descriptor:
            self._drop_blank()
            return
        for number, each in self._sandboxes.items():
            if each.descriptor == descriptor:
                self._bury(number)
                return

    def _bury(self, number: int) -> None:
        found = self._sandboxes.pop(number)
        with suppress(ChildProcessError):
            os.waitpid(found.pid, 0)
        self._clean(found.place)
        self._poll.unregister(found.descriptor)
        os.close(found.descriptor)
        breaches = found.breaches()
        self._slots.dismiss(found.admitted)
        self._slots.blank(found.place)
        self._spare[found.place] = found.group
        if len(self._spare) > _SPARE:
            self._give_back()
        with suppress(OSError):
            send(self._channel, {"sandbox": number, "ended": True, "breaches": breaches})

    def _give_back(self) -> None:
        """Lets other launchers have a place that is spare, unless its group cannot be removed yet."""
        place, group = next(iter(self._spare.items()))
        if group is None or group.clear():
            del self._spare[place]
            self._slots.give_back(place)

    def _clean(self, place: int) -> None:
        """Sees to what is left of a sandbox whose first process is gone: nothing, in namespaces."""


def _go_on(filter: bytes, plan: dict[str, Any], descriptors: Sequence[int]) -> None:
    """Goes on as the first process of a sandbox, where it has begun before."""
    channel, owners = [*descriptors, 0][:2]
    _become_first(plan, owners, filter, channel)


def _become_first(
    plan: dict[str, Any], owners: int, filter: bytes, descriptor: int, begin: Callable[[Step], object] = Step.clear
) -> None:
    """Goes on as the first process of a sandbox; never returns. `begin` is what is to be done before it is built."""
    step: Step = []
    code = 1
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for each in (0, 1, 2):
            os.dup2(nothing, each)
        name_process(FIRST)
        channel = socket.socket(fileno=descriptor)
        try:
            begin(step)
            listener = build(plan, owners, filter, step)
        except BaseException as error:
            send(channel, {"failed": " ".join(step), "error": str(error), "errno": getattr(error, "errno", 0) or 0})
            raise
        layers = [each["changes"] for each in plan["mounts"] if "changes" in each]
        listening = [listener.fileno()] if listener is not None else []
        send(channel, {"built": True, "layers": len(layers)}, [*layers, *listening])
        if (held := channel.detach()) != 3:
            os.dup2(held, 3)
        os.set_inheritable(3, False)
        channel = socket.socket(fileno=3)
        syscalls.close_above(4)
        serve(channel, bounds=plan["bounds"])
        code = 0
    except BaseException:  # noqa: BLE001 - boundary: nothing may go on as the launcher in here
        pass
    finally:
        os._exit(code)


def user_namespace(kuid: int, uid: int, gid: int, *, as_root: bool = False) -> int:
    """Returns a descriptor of a user namespace that maps the owner of files on the disk to another user.

    With `as_root` our root may make files there, too, which belong to nobody until it gives them to that user.

    Raises:
        OSError: we are not root, or there are too many user namespaces.
    """
    pid, descriptor = syscalls.fork_into(syscalls.NEWUSER)
    if pid == 0:
        syscalls.close_above(3)  # or it would hold what tells others that the launcher is gone
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 9)
        signal.pause()
        os._exit(0)
    try:
        besides = f"\n{FIRST_UID + PLACES} 0 1" if as_root else ""
        for name, text in (("uid_map", f"{uid} {kuid} 1{besides}"), ("gid_map", f"{gid} {kuid} 1{besides}")):
            with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
                file.write(text)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(descriptor)


def main(kind: type[SandboxLauncher] = SandboxLauncher) -> None:
    """Runs on the socket whose number is the only argument."""
    os.umask(0o022)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    channel = socket.socket(fileno=int(sys.argv[1]))
    try:
        launcher = kind(channel)
    except OSError as error:
        send(channel, {"error": str(error)})
        return
    launcher.run()


if __name__ == "__main__":
    main()
