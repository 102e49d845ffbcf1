"""How much of something is put up with: so much at once, and so much more each second."""

from __future__ import annotations


class Budget:
    """Full at the beginning. Time is told by who asks, in seconds that never go back."""

    def __init__(self, most: float, rate: float) -> None:
        self._most = most
        self._rate = rate
        self._left = most
        self._since: float | None = None

    def has(self, now: float, cost: float = 1.0) -> bool:
        """Whether there is enough."""
        if self._since is not None:
            self._left = min(self._most, self._left + (now - self._since) * self._rate)
        self._since = now
        return self._left >= cost

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Whether there was enough."""
        enough = self.has(now, cost)
        if enough:
            self._left -= cost
        return enough
