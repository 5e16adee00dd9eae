"""Fits the classifier of `read.profile` on generated sentences and writes `read/profile.json`.

    python -m mnemic.bench.fit_profile

    minimise  sum_i log(1 + exp(-y_i (b + sum w[buckets of i]))) + l2 / 2 |w|^2     y_i = +1 standing, -1 not

The weights are stored as signed bytes times one step.
"""

from __future__ import annotations

import json
from base64 import b64encode
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize

import mnemic.read
from mnemic.read.profile import BUCKETS, buckets
from mnemic.worlds.standing import standing

Array = NDArray[np.float64]
SENTENCES, L2 = 6000, 1.0


def main() -> None:
    drawn = list(islice(standing(seed=0), SENTENCES))
    cells = [
        (row, bucket) for row, (sentence, _) in enumerate(drawn) for bucket in [*buckets(sentence), BUCKETS]
    ]
    rows, columns = zip(*cells, strict=True)
    x = sparse.csr_matrix((np.ones(len(cells)), (rows, columns)), shape=(SENTENCES, BUCKETS + 1))
    y = np.array([1.0 if stands else -1.0 for _, stands in drawn])

    def loss(w: Array) -> tuple[float, Array]:
        margin = y * (x @ w)
        slope = x.T @ (-y / (1 + np.exp(margin))) + L2 * w
        return float(np.logaddexp(0, -margin).sum() + L2 * (w @ w) / 2), slope

    w = minimize(loss, np.zeros(BUCKETS + 1), jac=True, method="L-BFGS-B").x
    step = float(np.abs(w[:-1]).max() / 127)
    weights = np.round(w[:-1] / step).astype(np.int8)
    stored = {"bias": round(float(w[-1]), 4), "step": step, "weights": b64encode(weights.tobytes()).decode()}
    target = Path(mnemic.read.__file__).parent / "profile.json"
    target.write_text(json.dumps(stored, indent=0) + "\n", encoding="utf-8")
    print(f"{BUCKETS} weights in {target}, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
