"""The frame around every route: one declaration each, and everything that follows from it.

Purpose: from a table of routes to what is served: recognising, authorising, bounding, decoding, encoding, describing.
Knows: Starlette's routing; the port of access; how an error becomes an answer.
Must not know: what any route does.
Start reading at: `route.py`, then `endpoint.py`.
"""
