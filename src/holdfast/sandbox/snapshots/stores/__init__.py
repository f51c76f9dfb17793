"""Where snapshots rest: in blobs, in layers of an overlay, or in btrfs subvolumes.

Purpose: the adapters of `holdfast.sandbox.snapshots.port`.
Knows: the port, the workspace, blobs, and the kernel's mounts and ioctls.
Must not know: tools, runs.
Start reading at: `tree.py`.
"""
