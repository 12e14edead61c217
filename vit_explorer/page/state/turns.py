"""Places for a few works at once, in fair turns: one visitor's many wait behind another's one."""

from __future__ import annotations

import itertools
import threading
from collections import Counter

from vit_explorer.errors import ExplorerError

# Works of one visitor that may wait for a place; further ones are refused.
WAITING = 48


class BusyError(ExplorerError):
    """Too many works of one visitor wait already."""


class Turn:
    """One work's place, or its wait for it; `end` gives back either."""

    def __init__(self, turns: Turns, visitor: str, number: int) -> None:
        self.turns = turns
        self.visitor = visitor
        self.number = number

    def wait(self, seconds: float) -> bool:
        """Wait for the place, at most that long; whether it is there."""
        return self.turns.wait(self, seconds)

    def end(self) -> None:
        """Give the place back, or the wait for it up."""
        self.turns.end(self)


class Turns:
    """`places` works at once, of one visitor at most `each`; safe under threads.

    The next place goes to who has the fewest now, then to who was given one the longest ago.
    """

    def __init__(self, places: int, each: int) -> None:
        self._free = places
        self._each = each
        self._numbers = itertools.count(1)
        self._waiting: list[Turn] = []
        self._held: set[Turn] = set()
        self._given: dict[str, int] = {}
        self._changed = threading.Condition()

    def ask(self, visitor: str) -> Turn:
        """Stand in line for a place.

        Raises:
            BusyError: `WAITING` works of this visitor stand there already.
        """
        with self._changed:
            if sum(turn.visitor == visitor for turn in self._waiting) >= WAITING:
                raise BusyError(
                    "error.busy",
                    "{count} of your requests wait for their turn already; wait for some of them, "
                    "or stop them.",
                    count=WAITING,
                )
            turn = Turn(self, visitor, next(self._numbers))
            self._waiting.append(turn)
            return turn

    def wait(self, turn: Turn, seconds: float) -> bool:
        """Wait for a turn's place, at most that long; whether it is there."""
        with self._changed:
            self._changed.wait_for(lambda: turn in self._held or self._next() is turn, seconds)
            if self._next() is turn:
                self._waiting.remove(turn)
                self._held.add(turn)
                self._free -= 1
                self._given[turn.visitor] = next(self._numbers)
                self._changed.notify_all()
            return turn in self._held

    def end(self, turn: Turn) -> None:
        """Give a turn's place back, or its wait up."""
        with self._changed:
            if turn in self._held:
                self._held.remove(turn)
                self._free += 1
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if not any(one.visitor == turn.visitor for one in (*self._waiting, *self._held)):
                self._given.pop(turn.visitor, None)
            self._changed.notify_all()

    def _next(self) -> Turn | None:
        """Whose place the next is, if there is one."""
        if not self._free:
            return None
        held = Counter(turn.visitor for turn in self._held)
        fit = (turn for turn in self._waiting if held[turn.visitor] < self._each)
        return min(
            fit,
            key=lambda turn: (held[turn.visitor], self._given.get(turn.visitor, 0), turn.number),
            default=None,
        )
