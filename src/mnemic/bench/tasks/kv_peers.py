"""The methods that kvpress has too, on the same weights and texts: accuracy, bytes freed, memory, time."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mnemic.bench import bounded, presses
from mnemic.bench.runner import Options, Outcome, Row
from mnemic.bench.tasks import kv_claims, recurrent_speed
from mnemic.types import Ints, MnemicError

NAME = "kv_peers"
FOLDER = None
PROTOCOL = """The reference model reads pages of 448 tokens with 24 facts among filler, 25 at a time, and is
then asked for the value of one (as in the bench kv_claims, the question not known while reading), here and
under kvpress in an environment of its own, in the same run. Each method may keep the same share of the tokens'
bytes, by default a quarter (ThinK: every token, 60% of the channels of keys); here that share pays for all
that a cache owns, what is kept beside the pairs too. Sinks 4, windows 8, blocks 8. kvpress reads a page whole
and compresses at its end; here what is kept is chosen while reading. freed: the share of the full cache's
bytes that is no longer held when the page was read, from the storages of the cache's tensors; peak_mib: the
most memory held at any time while one page is read, every allocation counted; seconds: processor time of
reading and asking all pages, one thread. Needs peers=PYTHON, the interpreter of an environment with kvpress
(python -m venv peers; peers/bin/pip install torch kvpress "transformers<5.3"). Options: share=0.25,
cases=100."""

METHODS = ("full", "streaming", "snapkv", "tova", "pyramidkv", "h2o", "think")
KINDS = ("needle",)


def run(data: Path | None, options: Options) -> Outcome:
    """Measure both sides.

    Raises:
        MnemicError: no interpreter for kvpress was given, or it does not run.
    """
    from mnemic.models import load_reference
    from mnemic.models.reference import FOLDER as WEIGHTS

    if "peers" not in options.extra:
        raise MnemicError(
            "kvpress needs an environment of its own, as it wants an older transformers: python -m venv peers; "
            'peers/bin/pip install torch kvpress "transformers<5.3"; then --option peers=peers/bin/python'
        )
    share, count = float(options.extra.get("share", "0.25")), int(options.extra.get("cases", 100))
    cases = options.chosen(range(count), lambda i: f"{options.seed}.{i}")
    pages = drawn(cases, options.seed)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pages.npz"
        np.savez(path, **pages)  # type: ignore[arg-type]
        theirs = _kvpress(options.extra["peers"], WEIGHTS, path, share)
    model, _ = load_reference()
    ours = {name: _measure(model, name, share, pages) for name in options.progress(METHODS, "methods")}
    full = bounded.LENGTH * bounded.pair_nbytes(model)
    systems: dict[str, list[Row]] = {}
    failed = {}
    for method in METHODS:
        for side, found in (("mnemic", ours[method]), ("kvpress", theirs[method])):
            if "failed" in found:
                failed[f"{side} {method}"] = found["failed"]
                continue
            rows: list[Row] = [
                {"id": f"{options.seed}.{kind}.{case}", kind: right}
                for kind in KINDS
                for case, right in zip(cases, found[kind], strict=True)
            ]
            cost = {"freed": 1 - found["nbytes"] / full, "peak_mib": found["peak"] / 2**20}
            systems[f"{side} {method}"] = [*rows, {"id": "cost", **cost, "seconds": found["seconds"]}]
    return Outcome(systems, "mnemic full", {"share": share, "full_nbytes": full, "failed": failed})


def drawn(cases: list[int], seed: int) -> dict[str, Ints]:
    """The pages of each kind: texts [n, 448], questions [n, 2], answers [n]."""
    found = {}
    for kind in KINDS:
        made = [kv_claims.page(np.random.default_rng([seed, 5, case]), kind) for case in cases]
        found[f"{kind}_text"] = np.stack([text for text, _ in made])
        found[f"{kind}_question"] = np.array([question for _, (question, _) in made])
        found[f"{kind}_answer"] = np.array([answer[0] for _, (_, answer) in made])
    return found


def _measure(model: Any, method: str, share: float, pages: dict[str, Ints]) -> dict[str, Any]:
    """What `mnemic.bench.presses` measures of kvpress, of this method here."""
    import torch

    policy = bounded.fitted(model, method, bounded.SETTINGS)
    ratio = None if method in ("full", "think") else share
    token, threads = bounded.pair_nbytes(model), torch.get_num_threads()

    def read(text: Ints) -> Any:
        return bounded.read(model, policy, None if ratio is None else int(ratio * text.size * token), text)

    torch.set_num_threads(1)
    try:
        found: dict[str, Any] = {}
        began = time.process_time()
        for kind in KINDS:
            texts, right = pages[f"{kind}_text"], []
            for first in range(0, len(texts), presses.ROWS):
                some = slice(first, first + presses.ROWS)
                cache = read(texts[some])
                nbytes = cache.nbytes / len(texts[some])
                said = kv_claims.said(model, cache, pages[f"{kind}_question"][some].tolist())
                right += [float(x == y) for x, y in zip(said, pages[f"{kind}_answer"][some], strict=True)]
            found |= {kind: right, "nbytes": nbytes}
        found["seconds"] = time.process_time() - began
        return found | {"peak": recurrent_speed.peak(lambda: read(pages["needle_text"][:1]))}
    finally:
        torch.set_num_threads(threads)


def _kvpress(python: str, weights: Path, pages: Path, share: float) -> dict[str, Any]:
    """What kvpress makes of the pages, by method."""
    settings = [str(bounded.SETTINGS[name]) for name in ("sinks", "recent")]
    given = [python, str(presses.__file__), str(weights), str(pages), str(share), *settings]
    try:
        done = subprocess.run(given, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise MnemicError(f"kvpress could not be measured with {python}: {said.strip()[-400:]}") from None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
