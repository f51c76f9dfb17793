"""What a ledger should say, the long way round: it keeps every grant and adds all of them up for each question."""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.ledger.amounts import GRAINS, Account, Amount, Cap


@dataclass
class Entry:
    path: Account
    amount: Amount
    spent: Amount | None = None
    at: int = 0
    known: bool = True
    """False when it was settled so long ago that the ledger may have forgotten it."""


@dataclass
class Model:
    """Grants by key, caps by account."""

    entries: dict[str, Entry] = field(default_factory=dict)
    caps: dict[Account, tuple[Cap, ...]] = field(default_factory=dict)
    excused: dict[tuple[Account, Cap], Amount] = field(default_factory=dict)
    """What was above a cap when it was lowered, or when more was spent than was granted."""

    def below(self, account: Account) -> list[Entry]:
        return [each for each in self.entries.values() if each.path[: len(account)] == account]

    def open(self, account: Account) -> Amount:
        return sum((each.amount for each in self.below(account) if each.spent is None), Amount())

    def settled(self, account: Account) -> Amount:
        return sum((each.spent for each in self.below(account) if each.spent is not None), Amount())

    def used(self, account: Account, cap: Cap, now: int) -> Amount:
        if cap.window is None:
            return self.open(account) + self.settled(account)
        grain = -(-cap.window // GRAINS)
        total = self.open(account)
        for each in self.below(account):
            last = (each.at // grain + 1) * grain - 1
            if each.spent is not None and last > now - cap.window:
                total += each.spent
        return total

    def fitting(self, path: Account, wanted: Amount, now: int) -> Amount:
        """Returns as much of it as every cap on the path covers."""
        fits = list(wanted.numbers)
        for depth in range(1, len(path) + 1):
            for cap in self.caps.get(path[:depth], ()):
                used = self.used(path[:depth], cap, now).numbers
                for i, limit in enumerate(cap.limits):
                    if limit is not None:
                        fits[i] = min(fits[i], max(0, limit - used[i]))
        return Amount(*fits)

    def granted(self, path: Account, wanted: Amount, least: Amount | None, now: int) -> Amount | None:
        """Returns what is granted, None for nothing."""
        fits = self.fitting(path, wanted, now)
        return fits if (wanted if least is None else least).within(fits) else None

    def excuse(self, path: Account, now: int) -> None:
        """Takes note of what is above a cap on this path and may be so."""
        for depth in range(1, len(path) + 1):
            for cap in self.caps.get(path[:depth], ()):
                self.excused[path[:depth], cap] = self.used(path[:depth], cap, now)

    def over(self, now: int) -> list[tuple[Account, Cap, Amount]]:
        """Returns every account that is above a cap and has no excuse; an excuse shrinks with what is used."""
        found: list[tuple[Account, Cap, Amount]] = []
        for account, caps in self.caps.items():
            for cap in caps:
                used = self.used(account, cap, now)
                excuse = self.excused.get((account, cap), Amount())
                bound = (
                    max(limit, also) if limit is not None else None
                    for limit, also in zip(cap.limits, excuse.numbers, strict=True)
                )
                if any(most is not None and n > most for n, most in zip(used.numbers, bound, strict=True)):
                    found.append((account, cap, used))
                self.excused[account, cap] = excuse.smaller(used)
        return found
