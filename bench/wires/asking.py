"""The models and requests that are measured and soaked: public classes, with the defaults a user gets."""

from collections.abc import Callable, Mapping
from typing import Any

from holdfast.models.port import ModelRequest
from holdfast.models.providers.anthropic import AnthropicModel
from holdfast.models.providers.bedrock import BedrockModel
from holdfast.models.providers.cohere import CohereModel
from holdfast.models.providers.google import GoogleModel
from holdfast.models.providers.ollama import OllamaModel
from holdfast.models.providers.openai import OpenAIModel
from holdfast.models.providers.responses import ResponsesModel
from holdfast.models.providers.talking import HttpModel
from holdfast.net.client import HttpClient
from holdfast.types import AssistantMessage, CallId, Message, Text, ToolCall, ToolMessage, ToolSpec, UserMessage

from .script import ABOUT, EARLIER, INSTRUCTIONS, KEY, MODEL, PROMPT, RESULT, SCHEMA, TOOL

__all__ = ("model_of", "request_of")

Making = Callable[[HttpClient, str, bool], HttpModel[Any]]


def _bedrock(client: HttpClient, url: str, signed: bool) -> BedrockModel:
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": KEY} if signed else {"AWS_BEARER_TOKEN_BEDROCK": KEY}
    env = {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url, **keys}
    return BedrockModel.from_env(MODEL, client, env)


_MODELS: Mapping[str, Making] = {
    "chat": lambda client, url, _: OpenAIModel(MODEL, client, url=url, key=KEY),
    "messages": lambda client, url, _: AnthropicModel(MODEL, client, url=url, key=KEY),
    "responses": lambda client, url, _: ResponsesModel(MODEL, client, url=url, key=KEY),
    "gemini": lambda client, url, _: GoogleModel(MODEL, client, url=url, key=KEY),
    "cohere": lambda client, url, _: CohereModel(MODEL, client, url=url, key=KEY),
    "ollama": lambda client, url, _: OllamaModel(MODEL, client, url=url),
    "bedrock": _bedrock,
}


def model_of(wire: str, client: HttpClient, url: str, *, signed: bool = False) -> HttpModel[Any]:
    """The model that speaks a wire, at an address."""
    return _MODELS[wire](client, url, signed)


def request_of(model: str, *, tools: bool) -> ModelRequest:
    """What is asked: a prompt, or a step with a tool that was called before."""
    messages: list[Message] = [UserMessage((Text(PROMPT),))]
    if not tools:
        return ModelRequest(instructions=INSTRUCTIONS, messages=messages)
    call = ToolCall(CallId(EARLIER.id), EARLIER.name, EARLIER.arguments)
    messages += [AssistantMessage((call,), model, "tool_calls"), ToolMessage(call.id, call.name, RESULT)]
    spec = ToolSpec(name=TOOL, description=ABOUT, parameters=SCHEMA)
    return ModelRequest(instructions=INSTRUCTIONS, messages=messages, tools=(spec,))
