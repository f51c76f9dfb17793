"""What all protocols share: who answers a request, in which session, and what comes of it.

Purpose: from a request in our own words to the deltas, and the message, that answer it.
Knows: the runtime; agents and models by their names; what was noted of conversations.
Must not know: what an event or a body of a protocol looks like.
Start reading at: `asking.py`, `conversing.py`, `turning.py`, `telling.py`, in this order.
"""
