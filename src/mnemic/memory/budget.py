"""How much each space may keep, and by which rule it forgets; what goes is said and can be undone."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict
from types import ModuleType

from mnemic.store import Store
from mnemic.store.budget import enforce
from mnemic.types import Budget, Record

RULE = "decay"

log = logging.getLogger("mnemic")


class Budgets:
    """The budgets of one memory, kept in its file."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def set(self, space: str, budget: Budget | None, rule: str) -> None:
        """Let a space keep so much and choose by this rule (a method of the room `retain`); None lifts it.

        Raises:
            MnemicError: there is no such rule.
            ValueError: a limit below zero.
        """
        _rule(rule)
        if budget and min(budget.nbytes or 0, budget.records or 0) < 0:
            raise ValueError(f"{budget} is below zero; give the bytes or records that may be kept")
        said = None if budget is None else json.dumps({"budget": asdict(budget), "rule": rule})
        self._store.set_meta(f"budget {space}", said)

    def of(self, space: str) -> tuple[Budget, str] | None:
        """The budget of a space and its rule; None without one."""
        said = self._store.get_meta(f"budget {space}")
        if said is None:
            return None
        stored = json.loads(said)
        return Budget(**stored["budget"]), stored["rule"]

    def enforce(self, space: str) -> list[Record]:
        """Forget what does not fit, if there is a budget; returns and logs what went."""
        if (limit := self.of(space)) is None:
            return []
        budget, rule = limit
        gone = enforce(self._store, budget, _rule(rule).keep, space, time.time())
        if gone:
            named = ", ".join(str(record.id) for record in gone[:10]) + (", ..." if len(gone) > 10 else "")
            counted = "1 record" if len(gone) == 1 else f"{len(gone)} records"
            log.warning("space %r is over its budget: %s forgotten (%s), until undo", space, counted, named)
        return gone


def _rule(name: str) -> ModuleType:
    from mnemic.recipes import load

    return load("retain", name)
