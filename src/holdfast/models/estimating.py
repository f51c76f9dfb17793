"""How many tokens some bytes are, learned from the calls that were made.

For gauges and for deciding when a conversation is too long. It is an estimate: what bounds a call's cost is
`HttpModel.size`, and this is never above the bytes themselves. It errs on the side of too many tokens.

Of each model the last calls are remembered as tokens per byte, and the estimate is the rate that three quarters of
them stay under: one strange call moves it no further than its neighbour's rate, and a change of habits (another
language, more code) is followed within as many calls as are remembered. Nothing is kept over a restart.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque

__all__ = ("SHORTEST", "TokenEstimator")

_FIRST = 0.4
"""Tokens per byte before a model was called: two and a half bytes a token, which English and code are well over and
most other languages, in UTF-8, are too."""
_PRIOR = 3
"""How many calls the first rate counts for."""
_REMEMBERED = 32
"""Calls."""
SHORTEST = 512
"""Bytes below which a call says more about what a server adds than about its text."""
_MODELS = 256
_MOST = 1.0
"""Tokens per byte at most: a token stands for at least a byte."""
_LEAST = 1 / 64
_UNDER = 0.75


class TokenEstimator:
    """What was learned of all models. Threads may share it; each call takes a few microseconds."""

    def __init__(self, *, models: int = _MODELS) -> None:
        """Remembers so many models, those used last."""
        self._most = models
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()
        self._rates: dict[str, float] = {}

    def learn(self, model: str, size: int, tokens: int) -> None:
        """Takes note of a call: the bytes of its request and the input tokens the provider counted, cached ones too.

        Calls that held images or documents are not for this: their bytes are no text. Numbers that cannot be are
        passed over.
        """
        if size < SHORTEST or tokens <= 0:
            return
        rate = min(_MOST, max(_LEAST, tokens / size))
        with self._lock:
            seen = self._seen.get(model)
            if seen is None:
                seen = self._seen[model] = deque([_FIRST] * _PRIOR, maxlen=_REMEMBERED)
                if len(self._seen) > self._most:
                    gone, _ = self._seen.popitem(last=False)
                    self._rates.pop(gone, None)
            else:
                self._seen.move_to_end(model)
            seen.append(rate)
            self._rates.pop(model, None)  # found again when somebody asks: calls are many, and questions few

    def estimate(self, model: str, size: int) -> int:
        """Returns how many tokens so many bytes probably are, rather too many; between 1 and `size`, and 0 of nothing.

        Of a model that was never called two and a half bytes are taken for a token.
        """
        if size <= 0:
            return 0
        return min(size, int(size * self.rate(model)) + 1)

    def rate(self, model: str) -> float:
        """Returns the tokens per byte that estimates are made with."""
        rate = self._rates.get(model)
        if rate is None:
            with self._lock:
                seen = self._seen.get(model)
                if seen is None:
                    return _FIRST
                rate = self._rates[model] = _quantile(seen)
        return rate

    def forget(self, model: str) -> None:
        """Drops what was learned of a model, as when its provider serves another under that name."""
        with self._lock:
            self._seen.pop(model, None)
            self._rates.pop(model, None)


def _quantile(rates: deque[float]) -> float:
    return sorted(rates)[int(len(rates) * _UNDER)]
