"""A server from its start to its end, in this process.

SIGINT and SIGTERM end it in good order; a second one leaves at once, as a kill would, which the log stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, final

import click
import msgspec

from holdfast.cli.serve.banner import Banner
from holdfast.cli.serve.collecting import collect_rarely
from holdfast.cli.serve.planning import Plan
from holdfast.cli.settings.defaults import open_runtime
from holdfast.errors import HoldfastError, UsageError
from holdfast.flow.clock import SystemClock
from holdfast.runtime.runtime import Runtime
from holdfast.server.access.tenants import policies_of
from holdfast.server.app import ROUTES, make_app
from holdfast.server.governing.opening import Governed, governed
from holdfast.server.listening.listener import Listener
from holdfast.server.observing.figures import Figures
from holdfast.server.observing.logging import AccessLog, Lines, Several
from holdfast.server.parts import Service
from holdfast.types import Control

__all__ = ("run_server",)

_SWEEP = 10.0
"""Seconds between two looks for sessions that somebody left behind."""
_COLLECT = 6 * 3600.0
"""Seconds between two looks for content that nothing refers to any more."""
_INTERRUPTED, _TERMINATED = 130, 143


def run_server(plan: Plan) -> int:
    """Serves until somebody ends it, and returns the exit code."""
    return _run(_serve(plan))


def _run(work: Coroutine[Any, Any, int]) -> int:
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)


async def _serve(plan: Plan) -> int:
    with _Wishes() as wishes:
        async with _logged(plan) as log, _opened(plan) as runtime, _who_may(plan, runtime) as who:
            if plan.config.webhook_secrets:
                runtime.sign_webhooks(*plan.config.webhook_secrets)
            figures = Figures(runtime)
            service = Service(
                runtime=runtime,
                agents=plan.agents,
                access=who.access,
                clock=SystemClock(),
                bounds=plan.config.bounds,
                mode=plan.mode,
                control=None if plan.idle is None else Control(idle=plan.idle),
                observer=Several(*([] if log is None else [log]), figures, who.audit),
                throttle=who.throttle,
                proxies=plan.proxies,
                parts={**plan.parts, Governed: who, Figures: figures},
            )
            alone: dict[str, Any] = {} if plan.routes is ROUTES else {"more": (), "sockets": ()}
            app = make_app(service, plan.routes, origins=plan.origins, **alone)
            listener = Listener(service, app, plan.place, plan.config.connections, guarded=True)
            figures.connections = lambda: len(listener.keeper.connections)
            async with plan.beside(service), listener, _kept_going(runtime, figures):
                banner = Banner(plan, listener.url, await _doors(who))
                banner.started()
                collect_rarely()
                await wishes.ended.wait()
                banner.ending()
                until = time.monotonic() + plan.config.bounds.grace
            # A call that may not be made twice is worth waiting for: a stop is no crash.
            await runtime.drain(until - time.monotonic())
        return wishes.code


def _opened(plan: Plan) -> contextlib.AbstractAsyncContextManager[Runtime]:
    policies = [*policies_of(plan.config.access.tenants), *plan.policies]
    more = {"at_once": plan.at_once, **plan.opening}
    return open_runtime(plan.url, plan.sandbox, plan.policy, policies=policies, **more)


@contextlib.asynccontextmanager
async def _logged(plan: Plan) -> AsyncGenerator[AccessLog | None]:
    """Has lines written while the block lasts, also those of libraries."""
    if plan.log == "none":
        yield None
        return
    lines = Lines(sys.stderr)
    log = AccessLog(lines, plan.log)
    handler, root = log.library(), logging.getLogger()
    root.addHandler(handler)
    try:
        yield log
    finally:
        root.removeHandler(handler)
        lines.close()


@contextlib.asynccontextmanager
async def _who_may(plan: Plan, runtime: Runtime) -> AsyncGenerator[Governed]:
    """Opens who may. What other machines can reach never falls open again, whatever keys are revoked."""
    access = plan.config.access
    if plan.place.certificate is not None and access.https is None:
        access = msgspec.structs.replace(access, https=True)
    async with governed(
        runtime,
        SystemClock(),
        msgspec.structs.replace(access, required=_closed(plan), origins=(*access.origins, *plan.origins)),
        name=plan.name,
    ) as who:
        if plan.exposed and not plan.required and not (await who.keys.any() or await who.users.any()):
            raise UsageError(
                f"this server has no keys, so whoever reaches {plan.place.host!r} could do everything: create a key "
                "first (holdfast serve keys create), or listen on 127.0.0.1"
            )
        yield who


def _closed(plan: Plan) -> bool:
    return plan.config.access.required or plan.exposed


async def _doors(who: Governed) -> tuple[bool, str]:
    """Returns whether everybody may everything, and what makes the first user where there is none."""
    opened = await who.access.open_to_all()
    return opened, "" if opened or not await who.access.needs_setup() else who.setup_token


@contextlib.asynccontextmanager
async def _kept_going(runtime: Runtime, figures: Figures) -> AsyncGenerator[None]:
    """Takes up sessions that somebody left behind, at once and again and again."""

    async def sweep() -> None:
        killed = True  # before this one began; later, a lease that runs out is soon enough
        while True:
            with contextlib.suppress(HoldfastError):  # the store refuses, for now
                await runtime.sweep(everyone=True, killed=killed)
                killed = False
            await asyncio.sleep(_SWEEP)

    async def collect() -> None:  # what was uploaded and never used, and what deleted sessions left
        while True:
            await asyncio.sleep(_COLLECT)
            with contextlib.suppress(HoldfastError):
                await runtime.collect(everyone=True)

    tasks = asyncio.create_task(sweep(), name="sweep"), asyncio.create_task(collect(), name="collect")
    figures.begin()
    try:
        yield
    finally:
        figures.end()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@final
class _Wishes:
    """What a person or a system wants of the process."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.code = 0
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> _Wishes:
        self._loop.add_signal_handler(signal.SIGINT, self._end, 0, _INTERRUPTED)
        self._loop.add_signal_handler(signal.SIGTERM, self._end, _TERMINATED, _TERMINATED)
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.remove_signal_handler(number)

    def _end(self, code: int, at_once: int) -> None:
        if self.ended.is_set():
            click.echo("left at once: what was under way goes on when it is started again", err=True)
            os._exit(at_once)
        self.code = code
        self.ended.set()
