"""Where what a tool does takes place: in our process, in the run's sandbox, or in a program outside of it.

A tool says which it is where it is declared, and the gateway gives each call only what its tier has to act through.
What says nothing is inside: whatever program it starts with what it is given, the sandbox holds. Read-only work is
direct, so that looking at files starts no sandbox; it is safe because nothing of a workspace is ever run or followed
on the way: each path is walked from an open folder (`sandbox/walking.py`), and what is found is only read.
"""

from __future__ import annotations

from typing import Final, Literal

__all__ = ("REASONS", "TIERS", "Tier")

Tier = Literal["direct", "inside", "outside"]

TIERS: Final[dict[Tier, str]] = {
    "direct": "acts in our process, by safe walking, and starts no program that reads the workspace as it likes",
    "inside": "what it starts runs in the sandbox of the run, whatever it is",
    "outside": "starts a program as we are, which it keeps from obeying the workspace by itself",
}
"""What each means. A call that is direct is given nothing to run commands in; one that is outside, no sandbox."""

REASONS: Final = {
    "read": "reads one file through an open folder",
    "grep": "matches in our own scanner; ripgrep parses what is hostile, so it helps only where nothing is confined",
    "glob": "lists names through open folders",
    "ls": "lists names through an open folder",
    "write": "replaces one file through an open folder, and refuses what the profile protects",
    "edit": "replaces one file through an open folder, and refuses what the profile protects",
    "fetch": "speaks with a host through our own client and its address guard, and touches no file",
    "question": "asks a person",
    "calculator": "computes with numbers that are bounded before each step, and runs nothing as code",
    "think": "does nothing at all",
    "now": "reads the run's clock",
    "cite": "looks at what the run has touched",
    "web_search": "speaks with one engine through our own client and its address guard, and touches no file",
    "python": "runs what a model writes, in an interpreter without system calls or in the sandbox, never without",
    "find_tools": "looks at what the agent's tools say of themselves",
    "script": "runs what a model writes as WebAssembly, which reaches nothing; the tools it calls are where they are",
    "classify": "has a model read a text, which touches no file",
    "extract_entities": "has a model read a text, which touches no file",
    "summarize": "has a model read a text, which touches no file",
    "kv_get": "keeps values in the runtime's store, and touches no file",
    "kv_set": "keeps values in the runtime's store, and touches no file",
    "kv_list": "keeps values in the runtime's store, and touches no file",
    "kv_delete": "keeps values in the runtime's store, and touches no file",
    "file_save": "reads one file through an open folder at most, and keeps it in the runtime's store",
    "file_get": "looks at files in the runtime's store, and touches none of the workspace",
    "file_get_text": "looks at files in the runtime's store, and touches none of the workspace",
    "file_get_metadata": "looks at files in the runtime's store, and touches none of the workspace",
    "file_list": "looks at files in the runtime's store, and touches none of the workspace",
    "file_delete": "looks at files in the runtime's store, and touches none of the workspace",
    "file_search": "looks at files in the runtime's store, and touches none of the workspace",
    "bash": "runs what a model writes",
    "process": "runs what a model writes, for as long as it likes",
    "git": (
        "changes .git, which the sandbox protects, and speaks with remotes; no program, hook, filter or setting of the "
        "repository is obeyed (`builtin/repository/taming.py`), and the kernel bounds what it opens (`bounding.py`)"
    ),
}
"""Why each built-in tool is where it is."""
