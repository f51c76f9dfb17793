"""The console: a page for people, built beforehand, that asks the other doors as every client does.

Purpose: hand out the files of the page, under rules by which a browser runs nothing else.
Knows: the files in `assets/`, which `python -m tests.consoles` builds from `console/`.
Must not know: other doors. What the page may, its user's key or login says there.
Start reading at: `pages.py`; the page itself begins at `console/src/main.tsx`.
"""
