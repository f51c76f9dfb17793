"""The server under load, as one process: real sessions, runs of a model that says the time, and streams of them all.

    python -m bench.load.served '{"store": "memory:", "active": 2000, "idle": 10000, "rate": 20000, "deltas": 600}'

Runs begin when clients send prompts, as they do.
"""

import json
import sys
from typing import Any

import uvloop

from holdfast import Agent, Runtime
from holdfast.cli.serve.collecting import collect_rarely
from holdfast.flow.clock import SystemClock
from holdfast.models.providers import finding
from holdfast.server.access.local import LocalAccess
from holdfast.server.app import make_app
from holdfast.server.listening.listener import Listener
from holdfast.server.listening.sockets import Place
from holdfast.server.parts import Bounds, Service

from .commanding import commanded
from .pacing import Pace, Telling


async def main(told: dict[str, Any]) -> None:
    """Serves until it is told to end."""
    pace = Pace(told["rate"])
    finding.PROVIDERS["paced"] = Telling.make(pace, told["deltas"])  # type: ignore[index] - a dict
    async with Runtime.open(told["store"], at_once=told["active"] + 10) as runtime:
        for letter, count in (("a", told["active"]), ("i", told["idle"])):
            for number in range(count):
                await runtime.create(f"{letter}{number}")
        service = Service(
            runtime=runtime,
            agents={"time": Agent("paced/time", name="time")},
            access=LocalAccess(),
            clock=SystemClock(),
            bounds=Bounds(streams_each=20_000, grace=1),
        )
        async with Listener(service, make_app(service), Place(port=0)) as listener:
            collect_rarely()
            await commanded(int(listener.url.rpartition(":")[2]), pace)


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
