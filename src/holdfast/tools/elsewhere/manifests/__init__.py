"""Tools as data: manifests of the kind `Tool` in YAML.

Purpose: from a file to tools like those a program declares, with every fault of it and its line.
Knows: the transports, the profiles of authentication, the reading of YAML in `sandbox/policy/reading`.
Must not know: the gateway, and who is given the tools.
Start reading at: `loading.py`; `drafts.py` is what may be written, `making.py` what comes of it.
"""
