"""A queue that many users share fairly.

Users who have something in it are served in turn, one item each. A priority orders the items of one user among
themselves (the higher number first, first come first within a number) and never moves them ahead of another user's.
Any item can leave from anywhere, and any can be told its position.

Nothing here waits or runs: `lane.py` does. Putting in, taking out and leaving cost the same however many items wait.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from typing import Generic, TypeVar, final

__all__ = ("FairQueue", "Place")

T = TypeVar("T")


@final
class Place(Generic[T]):
    """Where one item stands in a queue."""

    __slots__ = ("item", "line", "number", "priority", "user")

    def __init__(self, item: T, user: str, priority: int) -> None:
        self.item = item
        self.user = user
        self.priority = priority
        self.line: _Line[T] | None = None
        """The line it stands in; None as soon as it was served or left."""
        self.number = 0
        """Counts on from the front of that line."""


@final
class FairQueue(Generic[T]):
    """Items of many users, taken out in turn."""

    __slots__ = ("_count", "_users")

    def __init__(self) -> None:
        self._users: OrderedDict[str, _Own[T]] = OrderedDict()
        """Those with something in the queue, whoever is next first: linked, so that any can leave at no cost."""
        self._count = 0

    def push(self, item: T, user: str, priority: int) -> Place[T]:
        """Puts an item in; a user who had nothing here is served after everybody who has."""
        place = Place(item, user, priority)
        own = self._users.get(user)
        if own is None:
            own = self._users[user] = _Own()
        own.push(place)
        self._count += 1
        return place

    def pop(self) -> T | None:
        """Takes out the first item of the user whose turn it is; None when there is nothing."""
        if not self._users:
            return None
        user, own = next(iter(self._users.items()))
        place = own.pop()
        self._count -= 1
        if own.count:
            self._users.move_to_end(user)
        else:
            del self._users[user]
        return place.item

    def remove(self, place: Place[T]) -> bool:
        """Takes out this item; returns False when it is not there any more."""
        if place.line is None:
            return False
        own = self._users[place.user]
        own.remove(place)
        self._count -= 1
        if not own.count:
            del self._users[place.user]
        return True

    def position(self, place: Place[T]) -> int:
        """Returns its position among what its user has here, 1 for what is taken out first; 0 when it is gone.

        That costs a step for each priority above its own, and none for the items.
        """
        return 0 if place.line is None else 1 + self._users[place.user].ahead(place)

    def count_of(self, user: str) -> int:
        """Returns how many items of that user are here."""
        own = self._users.get(user)
        return own.count if own else 0

    def counts(self) -> dict[str, int]:
        """Returns how many items each user has here, whoever is next first."""
        return {user: own.count for user, own in self._users.items()}

    def __len__(self) -> int:
        """Returns how many items are here."""
        return self._count


class _Own(Generic[T]):
    """What one user has in the queue."""

    __slots__ = ("_lines", "_order", "count")

    def __init__(self) -> None:
        self._lines: dict[int, _Line[T]] = {}
        self._order: list[int] = []
        """The priorities that have a line, negated: sorted, the highest comes first."""
        self.count = 0

    def push(self, place: Place[T]) -> None:
        line = self._lines.get(place.priority)
        if line is None:
            line = self._lines[place.priority] = _Line()
            insort(self._order, -place.priority)
        line.push(place)
        self.count += 1

    def pop(self) -> Place[T]:
        place = self._lines[-self._order[0]].pop()
        self._left(place.priority)
        return place

    def remove(self, place: Place[T]) -> None:
        self._lines[place.priority].remove(place)
        self._left(place.priority)

    def ahead(self, place: Place[T]) -> int:
        above = self._order[: bisect_left(self._order, -place.priority)]
        return sum(len(self._lines[-each]) for each in above) + self._lines[place.priority].ahead(place)

    def _left(self, priority: int) -> None:
        self.count -= 1
        if not self._lines[priority]:
            del self._lines[priority]
            del self._order[bisect_left(self._order, -priority)]


class _Line(Generic[T]):
    """Items of one user and one priority, first come first; the one in front is always there."""

    __slots__ = ("_first", "_gone", "_places")

    def __init__(self) -> None:
        self._places: deque[Place[T]] = deque()
        self._first = 0
        """The number of the place in front; each behind it has the next."""
        self._gone: list[int] = []
        """Numbers, in order, of those that left and still have a place: to take it away would be to look for it."""

    def push(self, place: Place[T]) -> None:
        place.line, place.number = self, self._first + len(self._places)
        self._places.append(place)

    def pop(self) -> Place[T]:
        place = self._places.popleft()
        place.line = None
        self._first += 1
        self._trim()
        return place

    def remove(self, place: Place[T]) -> None:
        place.line = None
        insort(self._gone, place.number)
        self._trim()
        if 2 * len(self._gone) > len(self._places):
            self._close_up()  # each place is looked at once for each that left: no more than that, on the whole

    def ahead(self, place: Place[T]) -> int:
        return place.number - self._first - bisect_left(self._gone, place.number)

    def _trim(self) -> None:
        cut = 0
        while cut < len(self._gone) and self._gone[cut] == self._first:
            self._places.popleft()
            self._first += 1
            cut += 1
        del self._gone[:cut]

    def _close_up(self) -> None:
        self._places = deque(place for place in self._places if place.line is not None)
        self._gone.clear()
        for number, place in enumerate(self._places, self._first):
            place.number = number

    def __len__(self) -> int:
        return len(self._places) - len(self._gone)
