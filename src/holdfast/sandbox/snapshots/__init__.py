"""How a workspace was, kept so that it can be looked at, compared, put back and copied.

Purpose: the port of snapshot stores; its portable adapter `tree`, and `overlay` and `btrfs` where the machine
allows them; what changed between two snapshots, shown as a diff; the reviewed way of changes from one workspace
into another.
Knows: the workspace, blobs.
Must not know: tools, runs, which snapshot belongs to what.
Start reading at: `port.py`, then `stores/tree.py`.
"""
