"""Requests of one client, one after another: each is read, judged, filled in, sent on, and its answer brought back.

The same for requests to the proxy itself (`GET http://host/path`) and for those in a tunnel that is looked into.
Nothing of a request is passed on as it came: its head is written anew from what was understood, its body is framed
anew, so that what was judged is what the server gets.

Not here: upgrades. A connection that becomes something else could not be judged any more.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Final, final

import msgspec

from holdfast.sandbox.egress.answers import Refused, answer_of
from holdfast.sandbox.egress.certificates import CertificateAuthority
from holdfast.sandbox.egress.credentials import Filled, Mask, Misplaced, Placeholders
from holdfast.sandbox.egress.deciding import Client, Deciding
from holdfast.sandbox.egress.dialling import Dialler
from holdfast.sandbox.egress.parsing.authorities import Authority, authority_of, path_of, split_url
from holdfast.sandbox.egress.parsing.heads import (
    Framing,
    Head,
    framing_of_answer,
    framing_of_request,
    head_of,
    without_hops,
)
from holdfast.sandbox.egress.settings import ProxySettings
from holdfast.sandbox.egress.wires import Broken, Reader, TooLong, Wire, farewell

__all__ = ("Equipment", "Exchanges", "bad_request", "dialled", "next_head")

_CUTTING: Final = frozenset(("accept-encoding", "range", "if-range"))
"""Fields by which a client could get a value packed, or in pieces."""
_INTERIM: Final = 16
"""Answers before the answer that are put up with."""


class Equipment(msgspec.Struct, frozen=True):
    """What the connections of one proxy share."""

    deciding: Deciding
    dialler: Dialler
    placeholders: Placeholders
    certificates: CertificateAuthority | None
    settings: ProxySettings


def bad_request(reason: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> Refused:
    """Returns the refusal of what can be read in two ways, or not at all."""
    return Refused(status, "bad_request", reason, next_steps=("Send it as RFC 9112 has it, with a common client.",))


async def next_head(reader: Reader, settings: ProxySettings, limit: int) -> Head | None:
    """Returns the next request's head; None where none comes.

    Raises:
        Refused: it is none, too long, or does not come to its end in time.
    """
    first = b""
    try:
        async with asyncio.timeout(settings.idle_seconds) as patience:
            first = await reader.some()
            if not first:
                return None
            reader.put_back(first)
            patience.reschedule(asyncio.get_running_loop().time() + settings.head_seconds)
            return head_of(await reader.head(limit))
    except TimeoutError:
        if not first:
            return None
        raise bad_request("the head does not come to its end", HTTPStatus.REQUEST_TIMEOUT) from None
    except TooLong as long:
        raise bad_request(str(long), HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from None
    except ValueError as wrong:
        raise bad_request(str(wrong)) from None


async def dialled(at: Equipment, client: Client, to: Authority) -> Wire:
    """Returns a connection to a host or service, at an address that is allowed, also by a policy that came meanwhile.

    Raises:
        Refused: it may not be dialled, or nobody is there.
    """
    deciding, generation = at.deciding, at.deciding.generation
    wire = await at.dialler.dial(to, lambda address: deciding.dial(client, to, address))
    if wire.address and deciding.generation != generation and (refused := deciding.dial(client, to, wire.address)):
        wire.close()
        raise refused
    client.address = wire.address
    return wire


@final
class Exchanges:
    """The requests of one client over one connection."""

    def __init__(
        self, at: Equipment, client: Client, reader: Reader, *, fixed: Authority | None = None, secure: bool = False
    ) -> None:
        """Makes it; `fixed` is where a tunnel leads, `secure` says whether TLS is spoken in it."""
        self._at = at
        self._client = client
        self._reader = reader
        self._wire = reader.wire
        self._fixed = fixed
        self._secure = secure
        self._up: _Upstream | None = None
        self._begun = False
        """Whether something of the answer was sent."""
        self._idle = asyncio.timeout(None)

    async def serve(self, head: Head | None = None) -> None:
        """Serves requests until there is none, the first of which may have been read already."""
        limits = self._at.settings
        limit = limits.inspected_head_limit if self._fixed else limits.head_limit
        try:
            while head := head or await next_head(self._reader, limits, limit):
                self._begun = False
                if not await self._one(head):
                    break
                head = None
        except Refused as refused:
            self._at.deciding.refusal(self._client, refused)
            if not self._begun:
                await farewell(self._wire, answer_of(refused))
        finally:
            self._drop()

    async def _one(self, head: Head) -> bool:
        """Serves one request; returns whether another may follow."""
        try:
            to, path, query = self._target(head)
            framing = framing_of_request(head)
        except ValueError as wrong:
            raise bad_request(str(wrong)) from None
        self._client.to = to
        self._check_kind(head)
        await self._at.deciding.look(self._client)
        self._at.deciding.request(self._client, to, head.method, path, query, secure=self._secure, bodied=framing != 0)
        filled = self._filled(head, to)
        mask = Mask((*filled.hidden, *self._at.placeholders.hidden_at(to)))
        target = f"{path}?{query}" if query else path
        try:
            async with asyncio.timeout(self._at.settings.idle_seconds) as self._idle:
                up = await self._upstream(to)
                await up.reader.wire.send(self._written(head, framing, filled, to, target, searched=bool(mask)))
                answering = self._answer(up, head, mask)
                return await _beside(answering, self._pass_body(up, framing)) if framing else await answering
        except OSError as error:
            if self._begun:
                return False  # whoever broke it: the client sees an answer that ends too early
            if isinstance(error, TimeoutError):
                raise self._failed("does not answer in time", HTTPStatus.GATEWAY_TIMEOUT) from None
            raise self._failed("broke the connection") from None

    def _target(self, head: Head) -> tuple[Authority, str, str]:
        """Returns where a request goes, its path and its query."""
        hosts = head.values("host")
        if len(hosts) > 1 or (not hosts and (self._fixed or head.version == "1.1")):
            raise ValueError("a request has one Host field")
        default = 443 if self._secure else 80
        to, rest = self._fixed, head.target
        if to is None:
            named, rest = split_url(head.target)
            to = authority_of(named, default)
        if hosts and authority_of(hosts[0], default) != to:
            message = f"the Host field names another host than {str(to)!r}, where the request goes"
            raise Refused(HTTPStatus.FORBIDDEN, "request_authority_mismatch", message)
        return to, *path_of(rest)

    def _check_kind(self, head: Head) -> None:
        if head.method in ("CONNECT", "TRACE"):
            raise bad_request(f"{head.method} is not passed on from here", HTTPStatus.METHOD_NOT_ALLOWED)
        if "websocket" in head.words("upgrade"):
            message = "a connection whose requests are read stays HTTP: upgrades are not passed on"
            raise Refused(HTTPStatus.FORBIDDEN, "policy_denied", message, next_steps=("Use plain requests instead.",))

    def _filled(self, head: Head, to: Authority) -> Filled:
        secure = self._secure or to.host in self._at.dialler.services
        try:
            filled = self._at.placeholders.fill(without_hops(head, ("host",)), to, secure=secure)
        except Misplaced as misplaced:
            raise Refused(HTTPStatus.FORBIDDEN, "credential_endpoint_mismatch", str(misplaced)) from None
        if filled.keys:
            self._at.deciding.filled(self._client, filled.keys)
        return filled

    def _written(
        self, head: Head, framing: Framing, filled: Filled, to: Authority, target: str, *, searched: bool
    ) -> bytes:
        """Returns the head as it is sent on; the whole of an answer that is searched is asked for, and plainly."""
        fields = [("Host", to.shown(443 if self._secure else 80)), *filled.fields]
        if searched:
            fields = [each for each in fields if each[0].lower() not in _CUTTING]
            fields.append(("Accept-Encoding", "identity"))
        fields += _framed(framing, said=bool(head.values("content-length")))
        return _lines(f"{head.method} {target} HTTP/1.1", fields)

    async def _pass_body(self, up: _Upstream, framing: Framing) -> None:
        async def on(piece: bytes) -> None:
            self._touch()
            await up.reader.wire.send(_chunk(piece) if framing == "chunked" else piece)

        up.taken = False
        try:
            await self._reader.body(framing, on)
        except Broken as broken:
            raise bad_request(str(broken)) from None
        if framing == "chunked":
            await up.reader.wire.send(b"0\r\n\r\n")
        up.taken = True

    async def _answer(self, up: _Upstream, asked: Head, mask: Mask) -> bool:
        """Brings the answer back; returns whether both sides stay."""
        try:
            head, framing = await self._answer_head(up, asked)
        except ValueError:
            raise self._failed("does not speak HTTP/1.1") from None
        if mask and framing != 0 and head.words("content-encoding") - {"identity"}:
            raise self._failed("packs what it was asked to send plainly")
        chunked = not isinstance(framing, int) and asked.version == "1.1"
        keeps = asked.keeps and up.taken and (isinstance(framing, int) or chunked)
        fields = [(name, mask.text(value) if mask else value) for name, value in without_hops(head)]
        lengths = [("Content-Length", value) for value in head.values("content-length")]
        fields += [("Transfer-Encoding", "chunked")] if chunked else lengths
        fields += [] if keeps else [("Connection", "close")]
        self._begun = True
        reason = mask.text(head.reason) if mask else head.reason
        await self._wire.send(_lines(f"HTTP/1.1 {head.status} {reason}", fields))
        try:
            await self._bring_body(up, framing, mask, chunked=chunked)
        except Broken:
            return False  # the client sees that it ends too early
        up.whole = up.taken and framing != "end" and head.keeps
        return keeps and up.taken

    async def _bring_body(self, up: _Upstream, framing: Framing, mask: Mask, *, chunked: bool) -> None:
        async def on(piece: bytes) -> None:
            self._touch()
            if mask:
                piece = mask.feed(piece)
            if piece:
                await self._wire.send(_chunk(piece) if chunked else piece)

        await up.reader.body(framing, on)
        rest = mask.end()
        last = (_chunk(rest) if rest else b"") + b"0\r\n\r\n" if chunked else rest
        if last:
            await self._wire.send(last)

    async def _answer_head(self, up: _Upstream, asked: Head) -> tuple[Head, Framing]:
        for _ in range(_INTERIM):
            raw = await up.reader.head(self._at.settings.answer_head_limit)
            self._touch()
            head = head_of(raw)
            if head.status >= 200:
                return head, framing_of_answer(head, asked.method)
            if head.status == 100 and asked.version == "1.1":
                await self._wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            elif head.status in (0, 101):
                break
        raise ValueError("no answer")

    async def _upstream(self, to: Authority) -> _Upstream:
        """Returns the connection to a host: the last one, if it leads there and was left in order."""
        deciding, dialler = self._at.deciding, self._at.dialler
        if self._up is not None and self._up.good_for(to, deciding.generation):
            self._up.whole = False
            return self._up
        self._drop()
        raw = await dialled(self._at, self._client, to)
        tls = self._secure and to.host not in dialler.services
        wire = await dialler.secure(raw, to) if tls else raw
        self._up = _Upstream(raw, Reader(wire), to, deciding.generation)
        self._touch()
        return self._up

    def _failed(self, how: str, status: HTTPStatus = HTTPStatus.BAD_GATEWAY) -> Refused:
        return Refused(status, "upstream_failed", f"the server at {str(self._client.to)!r} {how}; try again later")

    def _touch(self) -> None:
        self._idle.reschedule(asyncio.get_running_loop().time() + self._at.settings.idle_seconds)

    def _drop(self) -> None:
        if self._up is not None:
            self._up.reader.wire.close()
            self._up = None
        self._client.address = ""


@final
class _Upstream:
    """A connection to a server."""

    def __init__(self, raw: Wire, reader: Reader, to: Authority, generation: int) -> None:
        self.reader = reader
        self.taken = True
        """Whether it has all of the request."""
        self.whole = False
        """Whether all of its answer was read, and it stays."""
        self._raw = raw
        self._to = to
        self._generation = generation

    def good_for(self, to: Authority, generation: int) -> bool:
        if not self.whole or self._to != to or self._generation != generation:
            return False
        try:
            self._raw.socket.recv(1, socket.MSG_PEEK)  # it ended, or says what nobody asked for
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


async def _beside(main: Coroutine[None, None, bool], other: Coroutine[None, None, None]) -> bool:
    """Returns what the one comes to; when the other fails before that, both have failed."""
    tasks = asyncio.create_task(main), asyncio.create_task(other)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[1].done() and not isinstance(tasks[1].exception(), OSError):
            tasks[1].result()  # a server that takes no more of the body may have answered all the same
        return await tasks[0]
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _framed(framing: Framing, *, said: bool) -> list[tuple[str, str]]:
    if framing == "chunked":
        return [("Transfer-Encoding", "chunked")]
    return [("Content-Length", str(framing))] if said else []


def _lines(start: str, fields: list[tuple[str, str]]) -> bytes:
    return "\r\n".join((start, *(f"{name}: {value}" for name, value in fields), "", "")).encode("latin-1")


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)
