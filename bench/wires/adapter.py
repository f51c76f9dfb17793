"""Holdfast's adapter of one wire, asked as the floor of that wire is: `python -m bench.wires.adapter WIRE`."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from holdfast.models.port import Model
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.types import AssistantMessage, CallDelta, TextDelta

from .asking import model_of, request_of
from .measure import Client, measure
from .script import Answer, Call, base, signs, with_tools

__all__ = ()


def answer_of(message: AssistantMessage) -> Answer:
    """The answer in the words of the script."""
    usage = message.usage
    calls = [Call(call.id, call.name, call.arguments) for call in message.calls]
    return Answer(message.text, calls, (usage.input_tokens, usage.output_tokens))


def words_of(delta: object) -> str:
    """What a delta adds."""
    if isinstance(delta, TextDelta):
        return delta.text
    return delta.arguments if isinstance(delta, CallDelta) else ""


@asynccontextmanager
async def open_client() -> AsyncGenerator[Client]:
    """One HTTP client for all; each answer is asked for by a model of its own, as each run has one."""
    async with HttpClient(TRUSTED) as client:
        model: Model = model_of(sys.argv[1], client, base(sys.argv[1]), signed=signs())
        request = request_of(model.name, tools=with_tools())
        yield Client(lambda: model.fresh().stream(request), answer_of, words_of)


if __name__ == "__main__":
    measure(f"holdfast-{sys.argv[1]}", open_client)
