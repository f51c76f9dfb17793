"""A service around one agent, in forty lines of code: `MODEL=openai/gpt-5-mini uvicorn examples.rest_api:app`."""

import contextlib
import os

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from holdfast import Agent, Runtime, ToolFailure, tool
from holdfast.errors import AuthFailed
from holdfast.tools.builtin.knowing.arithmetic import evaluate


@tool(effect="none")
def metrics(cluster: str) -> str:
    """Returns the figures of a cluster."""
    return f"{cluster}: 41 % of its processors and 63 % of its memory in use, 118 of 120 pods ready"


async def said(request, field):
    body = await request.json() if await request.body() else {}
    if not isinstance(body, dict) or not isinstance(text := body.get(field), str):
        raise HTTPException(422, f"say something as {field!r}")
    try:
        return await request.app.state.runtime.start(
            request.app.state.agent, text, session=body.get("session_id")
        ), text
    except AuthFailed as error:
        raise HTTPException(503, str(error)) from error


async def ask(request):
    run, question = await said(request, "question")
    return JSONResponse({"question": question, "answer": (await run.result()).output})


async def chat(request):
    run, _ = await said(request, "message")
    return JSONResponse({"session_id": run.session, "answer": (await run.result()).output})


async def stream(request):
    run, _ = await said(request, "message")
    return StreamingResponse(item.text async for item in run.events() if item.type == "text.delta")


async def look(request):
    cluster = request.path_params["cluster"]
    return JSONResponse({"cluster": cluster, "metrics": metrics(cluster)})


async def calc(request):
    if not (expression := request.query_params.get("expr")):
        raise HTTPException(422, "say what to compute as 'expr'")
    try:
        return JSONResponse({"expression": expression, "result": str(evaluate(expression))})
    except ToolFailure as error:
        return JSONResponse({"expression": expression, "result": f"Error: {error}"})


@contextlib.asynccontextmanager
async def opened(app):
    app.state.agent = Agent(os.environ["MODEL"], instructions="You run clusters.", tools=[metrics, "calculator"])
    async with Runtime.open(os.environ.get("HOLDFAST_STORE")) as app.state.runtime:
        yield


ROUTES = [
    Route("/health", lambda request: JSONResponse({"status": "ok"})),
    *[Route(f"/{each.__name__}", each, methods=["POST"]) for each in (ask, chat, stream)],
    Route("/metrics/{cluster}", look),
    Route("/calc", calc),
]
DETAIL = {HTTPException: lambda request, error: JSONResponse({"detail": error.detail}, error.status_code)}
app = Starlette(routes=ROUTES, exception_handlers=DETAIL, lifespan=opened)
