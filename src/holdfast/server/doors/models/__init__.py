"""The doors that clients of model providers come through: three protocols, a list of models, and vectors.

Purpose: an unmodified client of a provider talks to this server: to an agent of it by its name, or to a model.
Knows: the wires, as servers speak them; the runtime, in which every answer is a run.
Must not know: how a run goes on, what a model costs, and the other doors.
Start reading at: `asking.py`, who answers; `turning.py`, what comes of a request; then `chat.py`, the shortest door.

Whoever is asked, an agent or a model, the answer is a run. A model is asked by the run of an agent that has no tools
but the client's, so there is one way of spending: tiers, failover, caps, reservations and the log are those of every
run. A tool of the client is a tool that waits (`tools/elsewhere/clients.py`): the run parks with its calls handed out,
and the request that brings their results goes on with it. A client that resends its conversation goes on in the session
that holds it already, where it is found (`conversing.py`), so that a conversation is written once and an agent keeps
what it did in between.
"""

from __future__ import annotations

from holdfast.server.doors.models import chat, embeddings, listing, messages, responses
from holdfast.server.routing.route import Route

__all__ = ("ROUTES",)

ROUTES: tuple[Route, ...] = (
    *chat.ROUTES,
    *responses.ROUTES,
    *messages.ROUTES,
    *listing.ROUTES,
    *embeddings.ROUTES,
)
