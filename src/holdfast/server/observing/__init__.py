"""What a server's operator can see: figures to be scraped, and a line for each request.

Purpose: from what is heard of requests, streams and runs to figures and log lines, at a cost nobody notices.
Knows: what `Observer` is told; the runtime's own figures; prometheus_client, which nobody else knows.
Must not know: routes and doors; what people said.
Start reading at: `figures.py`.
"""
