"""What somebody allows a command, as values.

Purpose: sandbox profiles, and the policies inside them in OpenShell's format: reading, judging, explaining, comparing.
Knows: YAML, and nothing that acts.
Must not know: how anything is enforced.
Start reading at: `profile.py`, then `loading.py` for documents and `judging.py` for decisions.
"""
