"""Tokens that others issue: signed, for this server, by whom the configuration names (OpenID Connect, RFC 7519).

Purpose: from a signed token to a principal; the keys that issuers sign with.
Knows: the house's HTTP client; JSON Web Tokens.
Must not know: keys and users of our own, routes.
Start reading at: `issuer.py`, then `verifying.py`.
"""
