"""Regular expressions compiled when first used, so that a fresh process pays only for those it needs."""

from __future__ import annotations

import re
from typing import Any, cast


class _Pattern:
    """Stands for a compiled pattern; its methods become those of the pattern once one was asked for."""

    def __init__(self, source: str, flags: int) -> None:
        self._source, self._flags = source, flags

    def __getattr__(self, name: str) -> Any:
        value = getattr(re.compile(self._source, self._flags), name)
        setattr(self, name, value)
        return value


def pattern(source: str, flags: int = 0) -> re.Pattern[str]:
    """`re.compile(source, flags)`, put off until it is used.

    Raises:
        re.PatternError: when it is used, if `source` is no regular expression.
    """
    return cast("re.Pattern[str]", _Pattern(source, flags))
