"""The rules of policies that types cannot say.

Purpose: what is wrong with a value, each fault with its place in it.
Knows: the format's rules, field by field.
Must not know: text and lines; where a place stands in a document is `reading/`'s business.
Start reading at: `policies.py`.
"""
