"""A store around the slots at hand: what it leaves to them."""

from __future__ import annotations

from mnemic.kv.observe import Observed
from mnemic.kv.slots import Slots


class Around:
    """A store whose newest tokens are in slots; a subclass keeps what has left them."""

    near: Slots

    @property
    def settled(self) -> int:
        return self.near.settled

    @settled.setter
    def settled(self, column: int) -> None:
        self.near.settled = column

    def observe(self, seen: Observed) -> None:
        self.near.observe(seen)

    def settle(self, seen: int) -> None:
        self.near.settle(seen)

    def crop(self, count: int, seen: int) -> None:
        self.near.crop(count, seen)
