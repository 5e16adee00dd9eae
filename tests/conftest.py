"""What tests share."""

from __future__ import annotations

import pytest

from hash_embedder import HashEmbedder


@pytest.fixture
def embedder() -> HashEmbedder:
    return HashEmbedder()
