"""Tunnels: what follows a CONNECT that is allowed.

Where no rule needs the requests, bytes go both ways as they are, after a look at the name a TLS client asks for.
Where one does, or a credential is to be filled in, TLS ends here and the requests inside are served like any other.
What comes first says which it is: TLS, or plain text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Final

from holdfast.sandbox.egress.answers import ESTABLISHED, Refused
from holdfast.sandbox.egress.certificates import CertificateAuthority
from holdfast.sandbox.egress.deciding import Client
from holdfast.sandbox.egress.exchanging import Equipment, Exchanges, dialled
from holdfast.sandbox.egress.parsing.authorities import Authority
from holdfast.sandbox.egress.parsing.hello import hello_of, is_tls
from holdfast.sandbox.egress.wires import Reader, TlsWire, Wire, Wiring
from holdfast.sandbox.policy.judging import Decision

__all__ = ("is_read", "tunnel")

_NO_CERTIFICATES: Final = "its requests have to be read, and this proxy cannot end TLS: pip install 'holdfast[egress]'"


async def tunnel(at: Equipment, client: Client, reader: Reader, to: Authority, decision: Decision) -> None:
    """Serves a CONNECT that the policy allowed, to its end.

    Raises:
        Refused: it cannot be served, and nothing was answered yet.
        OSError: one of the two sides broke, or was silent for too long.
    """
    if not is_read(at, to, decision):
        upstream = await dialled(at, client, to)
        client.unread = True
        try:
            await reader.wire.send(ESTABLISHED)
            await _pass_through(at, client, reader, upstream, to)
        finally:
            upstream.close()
        return
    if at.certificates is None:
        raise Refused(HTTPStatus.FORBIDDEN, "inspection_missing", _NO_CERTIFICATES)
    await reader.wire.send(ESTABLISHED)
    try:
        await _look_into(at, client, reader, to, at.certificates, sealed=decision.sealed)
    except Refused as refused:  # there is nobody any more who could read an answer
        at.deciding.refusal(client, refused)


def is_read(at: Equipment, to: Authority, decision: Decision) -> bool:
    """Returns whether the requests in a tunnel are read; `tls: skip` is kept to where nothing is enforced."""
    return decision.inspect or (not decision.sealed and at.placeholders.bound_to(to))


async def _look_into(
    at: Equipment, client: Client, reader: Reader, to: Authority, certificates: CertificateAuthority, *, sealed: bool
) -> None:
    first = await _first_words(at, client, reader, to, patience=at.settings.idle_seconds)
    if not first:
        return
    if not is_tls(first):
        reader.put_back(first)
        await Exchanges(at, client, reader, fixed=to).serve()
        return
    if sealed:
        raise _unheard("its rules are enforced and have to be read, but the endpoint says `tls: skip`; take that away")
    tls = TlsWire(reader.wire, certificates.context_for(to.host), heard=first)
    async with asyncio.timeout(at.settings.head_seconds):
        await tls.shake_hands()
    await Exchanges(at, client, Reader(tls), fixed=to, secure=True).serve()
    async with asyncio.timeout(at.settings.head_seconds):
        await tls.finish()


async def _pass_through(at: Equipment, client: Client, reader: Reader, upstream: Wire, to: Authority) -> None:
    loop, seconds = asyncio.get_running_loop(), at.settings.idle_seconds
    async with asyncio.timeout(seconds) as idle:

        async def pump(source: Reader, sink: Wiring) -> None:
            while data := await source.some():
                idle.reschedule(loop.time() + seconds)
                await sink.send(data)
            await sink.finish()

        async def upwards() -> None:
            try:
                await upstream.send(await _first_words(at, client, reader, to, patience=None))
            except Refused as refused:
                at.deciding.refusal(client, refused)
                raise ConnectionAbortedError from None
            await pump(reader, upstream)

        await _both(upwards(), pump(Reader(upstream), reader.wire))


async def _first_words(
    at: Equipment, client: Client, reader: Reader, to: Authority, *, patience: float | None
) -> bytes:
    """Returns what the client says first, the whole greeting if that is TLS; nothing where it says nothing.

    Raises:
        Refused: somebody else is speaking by now, or asks for another host than that of the tunnel.
    """
    async with asyncio.timeout(patience):
        data = await reader.some()
    if not data:
        return b""
    if await at.deciding.look(client):
        at.deciding.connect(client, to)
    if not is_tls(data):
        return data
    try:
        async with asyncio.timeout(at.settings.head_seconds):
            while (hello := hello_of(data)) is None:
                more = await reader.some()
                if not more:
                    raise _unheard("the TLS greeting ends midway")
                data += more
    except ValueError as wrong:
        raise _unheard(str(wrong)) from None
    if hello.name != to.host and (hello.name or not to.is_address):
        raise _unheard(f"TLS asks for {hello.name!r} in a tunnel to {to.host!r}")
    return data


def _unheard(reason: str) -> Refused:
    return Refused(HTTPStatus.FORBIDDEN, "tunnel_refused", reason)


async def _both(*ways: Coroutine[None, None, None]) -> None:
    """Returns when all have ended; where one fails, the others end with it."""
    tasks = [asyncio.create_task(each) for each in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for each in done:
            each.result()
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
