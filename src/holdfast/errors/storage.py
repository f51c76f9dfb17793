"""What the log and the database below it refuse."""

from __future__ import annotations

from holdfast.errors.root import HoldfastError

__all__ = (
    "Corrupt",
    "Fenced",
    "JournalError",
    "LeaseHeld",
    "NotOwnable",
    "StorageDamaged",
    "StorageError",
    "StorageFull",
    "StorageLocked",
    "StorageReadOnly",
)


class JournalError(HoldfastError):
    """The durable log refused."""

    code = "journal"
    audience = "operator"


class Fenced(JournalError):
    """A newer owner has this stream; the loser stops and touches nothing more."""

    code = "fenced"


class LeaseHeld(JournalError):
    """Another owner's lease on the stream has not run out."""

    code = "lease_held"
    retry = "later"

    def __init__(self, message: str, *, owner: str = "", epoch: int = 0, until: int = 0) -> None:
        super().__init__(message)
        self.owner = owner
        """Who holds the lease."""
        self.epoch = epoch
        """The epoch a claim would have to replace."""
        self.until = until
        """When the lease runs out, µs UTC by the store's clock."""


class Corrupt(JournalError):
    """The log and its owner disagree though the epoch is right: a bug or damage, never a race."""

    code = "corrupt"


class NotOwnable(JournalError):
    """The log holds an event this version must understand and does not: it may be shown, not continued."""

    code = "not_ownable"
    audience = "user"


class StorageError(HoldfastError):
    """The database refused."""

    code = "storage"
    audience = "operator"


class StorageLocked(StorageError):
    """Another program kept the database locked longer than we wait."""

    code = "storage_locked"
    retry = "later"


class StorageReadOnly(StorageError):
    """The database or its folder cannot be written."""

    code = "storage_read_only"


class StorageFull(StorageError):
    """No space is left; nothing of the refused batch was written, everything before it is safe."""

    code = "storage_full"
    retry = "later"


class StorageDamaged(StorageError):
    """The file is not a database, or its pages are damaged."""

    code = "storage_damaged"
