"""What is allowed by the format and probably not meant: findings about a document that is without problems.

Each has a code that stays, a severity, its line, and what to do. `high` is what lets more through than it looks like,
`warning` what is wider than most need, `note` what is good to know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from itertools import product
from typing import Final, Literal

import msgspec

from holdfast.safety.addresses import judge
from holdfast.sandbox.policy.heeding import TLS_UNREAD, UNHEEDED, never_passes, sealed_in_tls, unheeded
from holdfast.sandbox.policy.loading import Document, Mark
from holdfast.sandbox.policy.matching import address_in
from holdfast.sandbox.policy.openshell import Endpoint, NetworkPolicy, Policy
from holdfast.sandbox.policy.profile import PROTECTED, Profile

__all__ = ("Finding", "Severity", "lint")

Severity = Literal["high", "warning", "note"]
_Found = tuple[tuple[str | int, ...], str, Severity, str]

_INTERPRETERS: Final = re.compile(
    r"(?:python|pypy|node|nodejs|deno|bun|ruby|perl|php|lua|java|bash|sh|dash|zsh|ksh|fish|busybox|env|awk|gawk)[\d.]*"
)
_SECRET: Final = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)
_OBEYED: Final = ("/etc", "/root", "/home", "/usr", "/bin", "/sbin", "/lib", "/opt", "/boot", "/var/spool/cron", "/sys")
"""Folders that programs outside the sandbox take their programs and settings from."""
_SHARED: Final = ("tls", "allowed_ips")
_SHARED_READ: Final = ("protocol", "enforcement")
_WIDE_V4, _WIDE_V6 = 16, 48


class Finding(msgspec.Struct, frozen=True):
    """One thing that is probably not meant."""

    code: str
    severity: Severity
    mark: Mark
    place: tuple[str | int, ...]
    """Where in the value it is."""
    text: str
    """What it means, and what to do."""

    def __str__(self) -> str:
        return f"{self.mark.line}:{self.mark.column}: {self.severity}: {self.text} [{self.code}]"


def lint(document: Document, *, installed: bool = True) -> tuple[Finding, ...]:
    """Returns what is probably not meant, in the order of lines; a value without its text goes in as `Document`.

    `installed` is whether this machine has what reads requests inside TLS.
    """
    policy = document.policy
    given: list[_Found] = list(_in_policy(policy))
    if _requires_landlock(document.profile):
        given = [each for each in given if each[1] != "landlock-optional"]
    if not installed:
        places = list(sealed_in_tls(policy)) or [("network_policies",)]
        given.extend((place, "egress-extra", "high", TLS_UNREAD) for place in places)
    found = [(("policy", *each[0]) if document.wrapped else each[0], *each[1:]) for each in given]
    if isinstance(document.value, Profile):
        found += _in_profile(document.value)
    made = [Finding(code, severity, document.mark(place), place, text) for place, code, severity, text in found]
    return tuple(sorted(made, key=lambda each: (each.mark, each.code)))


def _requires_landlock(profile: Profile) -> bool:
    return any(each.partition(">=")[0] == "landlock" for each in profile.require)


def _in_policy(policy: Policy) -> Iterator[_Found]:
    yield from _files(policy)
    if policy.landlock.compatibility == "best_effort":
        text = "where Landlock is missing these paths are not checked by it; `hard_requirement` refuses to start then"
        yield ("landlock",), "landlock-optional", "note", text
    for key, each in policy.network_policies.items():
        for place, code, severity, text in _in_network(each, policy):
            yield ("network_policies", key, *place), code, severity, text
    yield from _conflicts(policy)
    for option in unheeded(policy):
        _, _, what = UNHEEDED[option.ability].partition("; ")
        text = f"no sandbox here heeds it, so none is started: {what or UNHEEDED[option.ability]}"
        yield option.place, "unheeded", "high", text
    for key, middleware in policy.network_middlewares.items():
        if middleware.on_error == "fail_open":
            text = "a request passes unseen where this middleware fails; `fail_closed` refuses it"
            yield ("network_middlewares", key, "on_error"), "middleware-fails-open", "warning", text


def _files(policy: Policy) -> Iterator[_Found]:
    files = policy.filesystem
    for number, path in enumerate(files.read_write):
        place = ("filesystem_policy", "read_write", number)
        if any(path.rstrip("/") == each or path.startswith(f"{each}/") for each in _OBEYED):
            text = (
                f"programs outside obey what lies in {path!r}; make it read-only, or name the one folder that is needed"
            )
            yield place, "writable-configuration", "high", text
        if path in files.read_only:
            yield place, "path-twice", "warning", f"{path!r} is read-only, too, and writable wins; keep one of them"


def _in_network(each: NetworkPolicy, policy: Policy) -> Iterator[_Found]:
    if each.endpoints and not each.binaries:
        yield (), "no-binaries", "warning", "no program may use it, so it allows nothing; list `binaries`"
    for number, endpoint in enumerate(each.endpoints):
        for check in _CHECKS:
            for place, code, severity, text in check(endpoint):
                yield ("endpoints", number, *place), code, severity, text
    for number, binary in enumerate(each.binaries):
        for code, severity, text in _program(binary.path, policy):
            yield ("binaries", number), code, severity, text


def _conflicts(policy: Policy) -> Iterator[_Found]:
    """Endpoints for one host and port that say different things of it: OpenShell refuses such a policy from 0.1 on."""
    first: dict[tuple[str, int, str], Endpoint] = {}
    for key, each in policy.network_policies.items():
        for number, endpoint in enumerate(each.endpoints):
            for port, path in product(endpoint.every_port, sorted({"", endpoint.path})):
                other = first.setdefault((endpoint.host.lower(), port, path), endpoint)
                differing = [name for name in _SHARED if getattr(other, name) != getattr(endpoint, name)]
                if other.inspected and endpoint.inspected and other.path == endpoint.path:
                    differing += [name for name in _SHARED_READ if getattr(other, name) != getattr(endpoint, name)]
                if differing:
                    said = f"{endpoint.host}:{port} stands here with another {', '.join(differing)}"
                    text = f"{said} than before, which OpenShell refuses; say the same in both"
                    yield ("network_policies", key, "endpoints", number), "conflicting-endpoints", "warning", text
                    break


def _program(path: str, policy: Policy) -> Iterator[tuple[str, Severity, str]]:
    name = path.rpartition("/")[2]
    if not path.startswith(("/", "**")):
        text = f"{path!r} is no absolute path, so it is never met; write the real path of the executable"
        yield "binary-never-met", "high", text
    elif name in ("*", "**"):
        yield "binary-pattern", "warning", f"{path!r} is every program in there; name the ones that need it"
    elif _INTERPRETERS.fullmatch(name.rstrip("*")):
        text = f"{path!r} runs any program it is given, so this says little about which one asks; rely on the endpoints"
        yield "interpreter", "warning", text
    if any(path.startswith(f"{each.rstrip('/')}/") for each in policy.filesystem.read_write):
        yield "binary-writable", "high", f"{path!r} lies where the sandbox may write; take one from a read-only folder"


def _enforcement(endpoint: Endpoint) -> Iterator[_Found]:
    if endpoint.inspected and not endpoint.enforced:
        why = "is audit" if endpoint.enforcement else "is left out, which means audit"
        text = f"its enforcement {why}: requests that break the rules pass; write `enforcement: enforce`"
        yield ("enforcement",), "audit-only", "high", text
    if not endpoint.inspected and (endpoint.access or endpoint.rules):
        name = "access" if endpoint.access else "rules"
        text = f"without a `protocol` no request is read, so {name!r} does nothing; write `protocol: rest`"
        yield (name,), "rules-without-protocol", "high", text
    if endpoint.protocol == "" and not endpoint.access and not endpoint.rules and endpoint.tls != "skip":
        text = "every request passes, of any method and path; bound them by `protocol: rest` with `access` or `rules`"
        yield (), "any-request", "note", text


def _hosts(endpoint: Endpoint) -> Iterator[_Found]:
    if not endpoint.host:
        yield (), "no-host", "warning", "any name passes that leads to its addresses; name the host"
    elif "*" in endpoint.host:
        text = (
            f"{endpoint.host!r} is every host of that form, also ones others may register; list those that are needed"
        )
        yield ("host",), "wildcard-host", "warning", text
    address = address_in(endpoint.host)
    verdict = judge(address)[0] if address else "loopback" if endpoint.host.lower() == "localhost" else "public"
    if verdict not in ("public", "private", "unique-local", "shared"):
        text = f"{endpoint.host!r} is {verdict}, which no policy opens; it is never reached"
        yield ("host",), "never-reached", "high", text
    elif verdict != "public" and not endpoint.allowed_ips:
        text = f"{endpoint.host!r} is {verdict} and never reached without `allowed_ips`; list it there"
        yield ("host",), "never-reached", "high", text
    for number, text in enumerate(endpoint.allowed_ips):
        network = ip_network(text, strict=False)
        if network.prefixlen < (_WIDE_V4 if network.version == 4 else _WIDE_V6):
            said = f"{text!r} holds {network.num_addresses:,} addresses; name the ones that are needed"
            yield ("allowed_ips", number), "wide-range", "warning", said


def _secrecy(endpoint: Endpoint) -> Iterator[_Found]:
    if endpoint.tls == "skip":
        rules = "so TLS is refused, as its rules are enforced" if endpoint.enforced else "so its rules do nothing"
        what = rules if endpoint.inspected else "and nobody sees what is sent"
        severity: Severity = "high" if endpoint.inspected else "warning"
        yield ("tls",), "tls-skip", severity, f"nobody looks into this connection, {what}; take `tls: skip` away"
    elif endpoint.tls:
        yield ("tls",), "tls-deprecated", "note", f"`tls: {endpoint.tls}` has meant nothing for long; take it away"
    if endpoint.allow_uninspected_credentials:
        text = "credentials may leave where nobody looks; take it away, or name a `protocol` and no `tls: skip`"
        yield ("allow_uninspected_credentials",), "uninspected-credentials", "high", text
    if 80 in endpoint.every_port and endpoint.protocol != "tcp":
        yield ("port",), "plain-http", "note", "port 80 is read by everybody on the way; use 443 where it is there"


def _passing(endpoint: Endpoint) -> Iterator[_Found]:
    if why := never_passes(endpoint):
        yield ("protocol",), "never-passes", "high", why


def _width(endpoint: Endpoint) -> Iterator[_Found]:
    if endpoint.access == "full" and endpoint.inspected and not endpoint.deny_rules:
        text = "every request passes, writing and deleting, too; write read-only, read-write or `rules`"
        yield ("access",), "full-access", "warning", text
    if endpoint.port and endpoint.ports:
        yield ("port",), "port-twice", "warning", "`ports` is given, so `port` means nothing; keep one of them"
    for name, requests in (
        ("rules", [each.allow for each in endpoint.rules or ()]),
        ("deny_rules", list(endpoint.deny_rules or ())),
    ):
        for number, each in enumerate(requests):
            if each.path and not each.path.startswith(("/", "*", "?", "[")):
                text = f"{each.path!r} does not begin with a slash, so no path is ever like it; begin it with one"
                yield (name, number), "path-never-met", "high", text


_CHECKS: Final[tuple[Callable[[Endpoint], Iterator[_Found]], ...]] = (
    _enforcement,
    _hosts,
    _secrecy,
    _passing,
    _width,
)


def _in_profile(profile: Profile) -> Iterator[_Found]:
    if profile.backend == "none":
        yield ("backend",), "no-isolation", "high", "nothing isolates commands; write `backend: auto`"
    missing = [each for each in PROTECTED if each not in profile.workspace.protect]
    if missing:
        said = ", ".join(missing)
        text = (
            f"programs outside obey {said}, which can be written, since a list under `protect` replaces the default; "
            "list them, too, or leave `protect` out"
        )
        yield ("workspace", "protect"), "writable-configuration", "high", text
    for number, name in enumerate(profile.env.allow):
        if _SECRET.search(name):
            text = f"{name!r} sounds like a secret, which everything inside could read; list it under `secrets` instead"
            yield ("env", "allow", number), "secret-in-environment", "high", text
    if profile.limits.sandboxes is not None and profile.pool.ready >= profile.limits.sandboxes:
        text = f"{profile.limits.sandboxes} sandboxes may live in all, so commands end what was made ready; allow more"
        yield ("pool", "ready"), "ready-over-limit", "warning", text
    for name in profile.unbound:
        text = (
            "it bounds /tmp and the home folder alone, since commands change the workspace itself; write "
            "`apply: when-ended` under `workspace`, and require disk-quota, or leave it out"
        )
        yield ("limits", name), "quota-without-layer", "high", text
    for name in ("memory", "pids"):
        if getattr(profile.limits, name) is None:
            yield (
                ("limits", name),
                "no-limit",
                "warning",
                f"without one, commands can use up all {name} of this machine; give it one",
            )
