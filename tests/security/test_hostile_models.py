"""Servers that answer with anything but an answer: one clear class of error each, bounded memory, and no waiting.

Each attack of `tests/attacking.py` is made on each wire over a real connection, through the provider's model.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests import attacking
from tests.attacking import WORDS, Attack
from tests.loopback import Request, Server, serving
from tests.wires import KEY, WIRES, Wire, check_joined

from holdfast.errors import (
    AuthFailed,
    ConnectionFailed,
    InvalidRequest,
    Malformed,
    ModelError,
    ModelTimeout,
    Overloaded,
    ServerError,
)
from holdfast.models.port import ModelRequest
from holdfast.models.providers.finding import find_model
from holdfast.net.client import HttpClient
from holdfast.net.settings import NetSettings
from holdfast.safety.addresses import TRUSTED
from holdfast.types import AssistantMessage, Delta, Text, UserMessage

PATIENCE = 20.0
"""Seconds in which each of them has to be over, on a slow machine."""
SILENCE = 0.2
"""Seconds after which nothing is waited for any more, of the one that says nothing more."""
MOST_MEMORY = 64
"""MB that reading any of them may need."""
MOST_BYTES = 16 * 1024 * 1024
"""Bytes that an answer may have here, blanks and comments included."""
MOST_TOKENS = 2**40
ERROR_CHARS = 1000

ERRORS: dict[Attack, type[ModelError]] = {
    attacking.an_html_page: Malformed,
    attacking.plain_words: Malformed,
    attacking.json_of_something_else: Malformed,
    attacking.nothing_with_204: Malformed,
    attacking.nothing_with_200: Malformed,
    attacking.no_http: Malformed,
    attacking.an_html_error: Overloaded,
    attacking.a_key_refused_in_html: AuthFailed,
    attacking.another_protocol: InvalidRequest,
    attacking.gone_at_once: ConnectionFailed,
    attacking.a_redirect_to_the_metadata: InvalidRequest,
    attacking.a_redirect_to_a_file: InvalidRequest,
    attacking.a_gzip_bomb: Malformed,
    attacking.an_event_of_50_mb: Malformed,
    attacking.an_endless_answer: Malformed,
    attacking.calls_without_end: Malformed,
    attacking.blanks_without_end: Malformed,
    attacking.a_header_of_1_mb: Malformed,
    attacking.too_many_headers: Malformed,
    attacking.trailers_without_end: Malformed,
    attacking.continues_without_end: Malformed,
    attacking.a_cut_chunk: ConnectionFailed,
    attacking.chunks_without_an_end: ConnectionFailed,
    attacking.a_chunk_of_no_number: Malformed,
    attacking.less_than_promised: ConnectionFailed,
    attacking.two_lengths: Malformed,
    attacking.a_socket_half_closed: ConnectionFailed,
    attacking.a_silent_one: ModelTimeout,
    attacking.an_end_without_a_reason: ConnectionFailed,
    attacking.bytes_that_are_no_text: Malformed,
    attacking.an_encoding_nobody_knows: Malformed,
    attacking.a_broken_gzip: ConnectionFailed,
    attacking.half_a_surrogate: Malformed,
    attacking.deep_nesting: Malformed,
    attacking.a_number_without_bound: Malformed,
    attacking.an_error_after_words: ServerError,
    attacking.an_error_full_of_controls: ServerError,
    attacking.a_key_said_again: AuthFailed,
    attacking.a_key_in_a_redirect: InvalidRequest,
    attacking.a_key_in_a_page: Malformed,
}
"""What is no answer, and the error it is."""
OTHERS: dict[tuple[str, Attack], type[ModelError]] = {("gemini", attacking.an_error_after_words): Overloaded}
"""Gemini's errors in the middle of a stream carry a status, here 503."""

ANSWERS = (
    attacking.a_body_and_no_stream,
    attacking.each_byte_a_chunk,
    attacking.trailers,
    attacking.blank_events_between,
    attacking.more_after_the_end,
    attacking.an_error_after_the_end,
    attacking.two_answers_in_one,
    attacking.less_than_no_tokens,
    attacking.more_tokens_than_there_are,
    attacking.thousands_of_unknown_events,
)
"""What is odd and still the answer."""
LONGER: dict[tuple[str, Attack], str] = {
    ("gemini", attacking.more_after_the_end): WORDS + "too late",
    ("gemini", attacking.two_answers_in_one): WORDS + WORDS,
}
"""Gemini's servers may give a stop reason with each event, so that what comes after one belongs to the answer."""


@pytest.mark.requirement("models:hostile-answers", "hostile:one-error-each", "hostile:errors-clean")
@pytest.mark.requirement("cohere:hostile-answers", "ollama:hostile-answers")
@pytest.mark.parametrize("attack", ERRORS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("name", WIRES)
async def test_what_is_no_answer_is_one_clear_error_soon_and_in_little_memory(name: str, attack: Attack) -> None:
    wire = WIRES[name]
    with pytest.raises(ModelError) as caught:
        await _ask(wire, attack, SILENCE if attack is attacking.a_silent_one else PATIENCE)
    assert type(caught.value) is OTHERS.get((name, attack), ERRORS[attack]), repr(caught.value)
    said = str(caught.value)
    assert wire.model in said
    assert KEY not in said
    assert "steal()" not in said
    assert said.isprintable()
    assert len(said) < ERROR_CHARS
    assert "try again" in said or "check" in said, "it says no next step"


@pytest.mark.requirement("models:hostile-answers", "hostile:odd-answers")
@pytest.mark.parametrize("attack", ANSWERS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("name", WIRES)
async def test_an_answer_that_comes_in_an_odd_way_is_still_that_answer(name: str, attack: Attack) -> None:
    message = await _ask(WIRES[name], attack, PATIENCE)
    assert message.text == LONGER.get((name, attack), WORDS)
    assert [(call.name, call.arguments) for call in message.calls][:1] == [("f", '{"x":1}')]
    assert message.stop == "tool_calls"
    counts = msgspec.structs.astuple(message.usage)
    assert min(counts) >= 0
    assert max(counts) <= MOST_TOKENS


@pytest.mark.requirement("hostile:odd-answers")
@pytest.mark.parametrize("name", WIRES)
async def test_ten_thousand_tiny_events_in_one_read_are_all_read(name: str) -> None:
    message = await _ask(WIRES[name], attacking.ten_thousand_words_at_once, PATIENCE)
    assert message.text == "so " * 10_000


async def _ask(wire: Wire, attack: Attack, silence: float) -> AssistantMessage:
    """Asks a model whose server does that, and returns its answer; the deltas before it are checked, and the cost."""

    async def hostile(_: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        try:
            await attack(writer, wire)
        except ConnectionError:
            server.left.set()

    async with serving(hostile) as server:
        client = HttpClient(TRUSTED, NetSettings(silence_timeout=silence, body_limit=MOST_BYTES))
        before = _new_peak()
        try:
            model = find_model(wire.model, client, wire.env(server.url))
            async with asyncio.timeout(PATIENCE):
                return await _read(model.stream(ModelRequest(instructions="", messages=[UserMessage((Text("go"),))])))
        finally:
            assert _peak() - before < MOST_MEMORY
            assert len(server.requests) == 1, "it was asked again, or somewhere else"
            await client.close()


async def _read(stream: AsyncIterator[list[Delta] | AssistantMessage]) -> AssistantMessage:
    deltas: list[Delta] = []
    last: object = None
    async for item in stream:
        last = item
        if isinstance(item, list):
            deltas += item
    assert isinstance(last, AssistantMessage)
    check_joined(last, deltas)
    return last


def _new_peak() -> int:
    """Forgets what was needed before, and returns what is needed now, in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """Returns the most memory that this process has had, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024
