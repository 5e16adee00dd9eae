"""What tests share."""

from __future__ import annotations

import os

import pytest
import torch

from hash_embedder import HashEmbedder

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # GPU programs then run here, number by number; read as Triton loads


@pytest.fixture
def embedder() -> HashEmbedder:
    return HashEmbedder()
