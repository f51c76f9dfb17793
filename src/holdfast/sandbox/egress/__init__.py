"""The one way out of a sandbox: default deny, and a proxy on our side that judges every connection.

Purpose: an HTTP proxy for one sandbox: names looked up here and nowhere else, addresses guarded, programs told apart,
requests inside TLS read where a rule needs it, credentials filled in where a request is allowed.
Knows: sockets, TLS, the policy's judge, `safety` for the verdict on an address.
Must not know: how a sandbox is made, tools, runs, models.
Start reading at: `proxy.py`, then `exchanging.py`.
"""
