"""What a soak may leave behind."""

from ..measuring import Sample

__all__ = ("LONG", "leaks_in")

LONG = 2000
"""Streams from which on resident memory says something: before, the allocator still takes what it will keep."""

_BOUNDS = {
    "tasks": 0,
    "sockets": 0,
    "at_server": 0,
    "kept": 16,  # connections for later, never more than there were streams at once
    "objects": 50,
    "blocks": 250,
    "kept_objects": 1000,
}
_KIB = 256.0
"""Resident memory for each thousand streams."""


def leaks_in(sample: Sample) -> list[str]:
    """What is over its bound, in words; nothing where nothing is left."""
    over = [f"{name} {sample[name]} > {most}" for name, most in _BOUNDS.items() if sample[name] > most]
    if sample["streams"] >= LONG and sample["kib_per_1000"] > _KIB:
        over.append(f"kib_per_1000 {sample['kib_per_1000']} > {_KIB:g}")
    return over
