"""What Linux offers for keeping a process in, called directly.

Purpose: namespaces, mounts, Landlock, seccomp, cgroups and capabilities, by ctypes, with no program or library
installed. Knows: the kernel's interface, and the standard library only: the launcher of sandboxes loads nothing else.
Must not know: sandboxes, profiles, policies. Start reading at: `syscalls.py`.
"""
