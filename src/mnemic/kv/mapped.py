"""Rows of tensors in a file that is mapped into memory: the slow tier, which no budget of memory bounds.

The file has no name and disappears with its owner. Space is reserved before it is written, so a full disk is an
error here and not a crash later.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from mnemic.types import MnemicError


class Mapped:
    """A growing tensor [n, *shape] in a file."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (lives as long as this)
        self.count = 0
        self.reserved: Tensor | None = None

    def __len__(self) -> int:
        return self.count

    def append(self, row: Tensor) -> None:
        """Add one row of the shape that all have; see `extend`."""
        self.extend(row[None])

    def extend(self, rows: Tensor) -> None:
        """Add rows [k, *shape].

        Raises:
            MnemicError: the disk is full.
        """
        count = self.count + len(rows)
        if self.reserved is None or count > len(self.reserved):
            self._reserve(max(16, 2 * self.count, count), rows[0])
        assert self.reserved is not None
        self.reserved[self.count : count] = rows
        self.count = count

    def cut(self, count: int) -> None:
        """Forget all but the first `count` rows; their place is written again."""
        self.count = count

    @property
    def rows(self) -> Tensor:
        """What is there [n, *shape]; a view of the file."""
        assert self.reserved is not None
        return self.reserved[: self.count]

    @property
    def nbytes(self) -> int:
        return 0 if self.count == 0 else self.rows.numel() * self.rows.element_size()

    def _reserve(self, rows: int, like: Tensor) -> None:
        size = rows * like.numel() * like.element_size()
        try:
            os.posix_fallocate(self.file.fileno(), 0, size)
        except OSError as error:
            raise MnemicError(
                f"no room for {size} bytes of offloaded keys and values: {error}; free some space, or "
                "name another folder when attaching (folder=...)"
            ) from error
        view = mmap.mmap(self.file.fileno(), size)
        self.reserved = torch.frombuffer(view, dtype=like.dtype).view(rows, *like.shape)
