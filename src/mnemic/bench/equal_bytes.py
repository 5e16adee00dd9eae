"""Shapes of recurrent layers whose states are alike in size, and what makes a layer of a size."""

from __future__ import annotations

ONLINE = {"window": 1, "max_rate": 0.5}
"""What makes Titans' rule of ATLAS' windows: the largest step is the best of .5, 1 and 2 for it."""

LATEST: dict[str, float] = {"bits": 0, "selected": 0}
"""What makes a window of HAX: one bucket, so that the latest tokens are held whatever they say."""

EQUAL_BYTES: dict[str, dict[str, float]] = {
    "attention": {},
    "sliding-window": {"window": 14},
    "linear-attention": {"key_dim": 20, "value_dim": 20},
    "gated-linear-attention": {"key_dim": 20, "value_dim": 20},
    "delta-rule": {"key_dim": 20, "value_dim": 20},
    "gated-delta-rule": {"key_dim": 20, "value_dim": 20},
    "based": {"key_dim": 6, "value_dim": 16},
    "jrt": {"key_dim": 6, "value_dim": 16},
    "mom": {"key_dim": 10, "value_dim": 10},
    "titans": {"key_dim": 9, "value_dim": 9, "expansion": 1},
    "titans-gate": {"key_dim": 6, "value_dim": 9, "expansion": 1, "window": 16},
    "titans-context": {"key_dim": 6, "value_dim": 9, "expansion": 1, "segment": 8},
    "titans-layer": {"key_dim": 6, "value_dim": 8, "expansion": 1, "window": 15},
    "moneta": {"head_dim": 11, "expansion": 1},
    "yaad": {"head_dim": 11, "expansion": 1},
    "memora": {"head_dim": 11, "expansion": 1},
    "atlas": {"key_dim": 4, "value_dim": 8},
    "atlas-online": {"key_dim": 5, "value_dim": 8} | ONLINE,
    "aaren": {"key_dim": 4, "value_dim": 136},
    "gam": {"conv": 36},
    "lssl": {"size": 36},
    "s4": {"size": 36},
    "s4d": {"size": 36},
    "mamba": {"size": 26},
    "longmamba": {"size": 26},
    "hax": {"size": 8, "bits": 2, "bucket": 3, "selected": 4},
    "hax-window": {"size": 8, "bucket": 16} | LATEST,
    "bmojo": {"key_dim": 8, "value_dim": 8, "window": 9, "storage": 16},
    "stuffed-mamba": {"size": 8, "window": 13},
    "deep-transformer": {"window": 14},
    "lact": {"key_dim": 6, "value_dim": 8, "chunk": 8, "window": 8},
}
"""Shapes whose states are alike in size at a width of 32 and 2 heads."""

SMALLER: dict[str, dict[str, dict[str, float]]] = {
    "half": {
        "sliding-window": {"window": 5},
        "linear-attention": {"key_dim": 13, "value_dim": 13},
        "gated-linear-attention": {"key_dim": 13, "value_dim": 13},
        "delta-rule": {"key_dim": 13, "value_dim": 13},
        "gated-delta-rule": {"key_dim": 13, "value_dim": 13},
        "based": {"key_dim": 4, "value_dim": 14},
        "jrt": {"key_dim": 4, "value_dim": 14},
        "mom": {"key_dim": 7, "value_dim": 6},
        "titans": {"key_dim": 6, "value_dim": 6, "expansion": 1},
        "titans-gate": {"key_dim": 4, "value_dim": 7, "expansion": 1, "window": 10},
        "titans-context": {"key_dim": 4, "value_dim": 5, "expansion": 1, "segment": 8},
        "titans-layer": {"key_dim": 4, "value_dim": 6, "expansion": 1, "window": 8},
        "moneta": {"head_dim": 7, "expansion": 1},
        "yaad": {"head_dim": 7, "expansion": 1},
        "memora": {"head_dim": 7, "expansion": 1},
        "atlas": {"key_dim": 2, "value_dim": 8},
        "atlas-online": {"key_dim": 3, "value_dim": 8} | ONLINE,
        "aaren": {"key_dim": 4, "value_dim": 68},
        "gam": {"conv": 18},
        "lssl": {"size": 18},
        "s4": {"size": 18},
        "s4d": {"size": 18},
        "mamba": {"size": 12},
        "longmamba": {"size": 12},
        "hax": {"size": 4, "bits": 2, "bucket": 1, "selected": 3},
        "hax-window": {"size": 4, "bucket": 7} | LATEST,
        "bmojo": {"key_dim": 6, "value_dim": 8, "window": 4, "storage": 8},
        "stuffed-mamba": {"size": 4, "window": 5},
        "deep-transformer": {"window": 5},
        "lact": {"key_dim": 4, "value_dim": 6, "chunk": 8, "window": 8},
    },
    "quarter": {
        "sliding-window": {"window": 3, "key_dim": 10, "value_dim": 12},
        "linear-attention": {"key_dim": 8, "value_dim": 8},
        "gated-linear-attention": {"key_dim": 8, "value_dim": 8},
        "delta-rule": {"key_dim": 8, "value_dim": 8},
        "gated-delta-rule": {"key_dim": 8, "value_dim": 8},
        "based": {"key_dim": 2, "value_dim": 14},
        "jrt": {"key_dim": 2, "value_dim": 14},
        "mom": {"key_dim": 4, "value_dim": 5},
        "titans": {"key_dim": 4, "value_dim": 4, "expansion": 1},
        "titans-gate": {"key_dim": 2, "value_dim": 6, "expansion": 1, "window": 8},
        "titans-context": {"key_dim": 2, "value_dim": 5, "expansion": 1, "segment": 6},
        "titans-layer": {"key_dim": 2, "value_dim": 4, "expansion": 1, "window": 10},
        "moneta": {"head_dim": 5, "expansion": 1},
        "yaad": {"head_dim": 5, "expansion": 1},
        "memora": {"head_dim": 5, "expansion": 1},
        "atlas": {"key_dim": 2, "value_dim": 3},
        "atlas-online": {"key_dim": 2, "value_dim": 6} | ONLINE,
        "aaren": {"key_dim": 4, "value_dim": 32},
        "gam": {"conv": 10},
        "lssl": {"size": 8},
        "s4": {"size": 8},
        "s4d": {"size": 8},
        "mamba": {"size": 5},
        "longmamba": {"size": 5},
        "hax": {"size": 2, "bits": 1, "bucket": 1, "selected": 1},
        "hax-window": {"size": 2, "bucket": 3} | LATEST,
        "bmojo": {"key_dim": 4, "value_dim": 4, "window": 4, "storage": 6},
        "stuffed-mamba": {"size": 2, "window": 2},
        "deep-transformer": {"window": 3, "key_dim": 10, "value_dim": 12},
        "lact": {"key_dim": 2, "value_dim": 8, "chunk": 8, "window": 4},
    },
}
"""The same at half and a quarter of those bytes: within 10% of 2,240 and 1,120."""


def sized(layer: str, size: int) -> dict[str, float]:
    """The options that give a layer this size per head."""
    if layer in ("sliding-window", "deep-transformer"):
        return {"window": size}
    if layer == "gam":
        return {"conv": size}
    if layer in ("lssl", "s4", "s4d", "mamba", "longmamba", "stuffed-mamba", "hax"):
        return {"size": size}
    if layer in ("moneta", "yaad", "memora"):
        return {"head_dim": size}
    if layer == "atlas-online":
        return sized("atlas", size) | ONLINE
    if layer == "hax-window":
        return sized("hax", size) | {"bucket": 96} | LATEST
    if layer in ("based", "jrt", "atlas"):
        return {"key_dim": size // 2, "value_dim": size}
    return {"key_dim": size, "value_dim": size}
