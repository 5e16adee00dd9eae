"""What the reference model can do within its window, and what is left of it without its retrieval heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnemic.bench.runner import Options, Outcome, Row
from mnemic.models.reference import load
from mnemic.types import Mask
from mnemic.worlds import tokens

NAME = "reference"
FOLDER = None
PROTOCOL = """The reference model (mnemic.models.load_reference) on pages of 512 tokens, its whole window, of
seeds it was not trained on. A case is a page, right when greedy decoding gives every answer token of it:
needle (one of 9 facts), multi_needle (4 of 12), recall (102 facts, each asked), threads (one among 16 further
facts, hop by hop; threads_2 to threads_5: its hops), order (which of two keys was told first), copy;
recall_answers and copy_answers: the share of right answer tokens. "without N retrieval heads": the fewest, at
most 15% of all, whose silencing drops needle recall under .2 (that many, if none does), by their score on other
pages; "without N others": as many others, drawn anew for every ten cases. Options: model=FOLDER, cases=500."""

CASES, LENGTH, ROWS = 500, 512, 10
SHARE = 0.15  # of the heads, at most, that needle recall may hang on
KINDS: dict[str, Callable[[np.random.Generator], tokens.Page]] = {
    "needle": lambda rng: tokens.needle(rng, LENGTH),
    "multi_needle": lambda rng: tokens.needle(rng, LENGTH, needles=4),
    "recall": lambda rng: tokens.recall(rng, LENGTH),
    **{f"threads_{hops}": lambda rng, hops=hops: tokens.threads(rng, LENGTH, hops) for hops in (2, 3, 4, 5)},  # type: ignore[misc]
    "order": lambda rng: tokens.order(rng, LENGTH),
    "copy": lambda rng: tokens.copy(rng, LENGTH),
}


def run(data: Path | None, options: Options) -> Outcome:
    from mnemic.attention.retrieval_heads import ranked, silenced

    given = options.extra.get("model")
    model, _ = load(Path(given)) if given else load()
    count = int(options.extra.get("cases", CASES))
    drawn = [options.chosen(range(count), lambda i, kind=kind: f"{options.seed}.{kind}.{i}") for kind in KINDS]
    systems: dict[str, list[Row]] = {"reference": []}
    for kind, cases in zip(KINDS, drawn, strict=True):
        for i, right in zip(cases, _right(model, kind, cases, options), strict=True):
            row: Row = {
                "id": f"{options.seed}.{kind}.{i}",
                kind.partition("_")[0] if kind.startswith("threads") else kind: float(right.all()),
            }
            if kind in ("recall", "copy"):
                row[f"{kind}_answers"] = float(right.mean())
            if kind.startswith("threads"):
                row[kind] = float(right.all())
            systems["reference"].append(row)
    scores = _scores(model, options)
    order = ranked(scores)
    most = int(SHARE * len(order))
    cases = drawn[0]

    def needle(heads: Sequence[tuple[int, int]], some: Sequence[int]) -> list[Row]:
        with silenced(model, heads):
            right = _right(model, "needle", some, options)
        return [
            {"id": f"{options.seed}.needle.{i}", "needle": float(one.all())}
            for i, one in zip(some, right, strict=True)
        ]

    fewest = most
    for fewest in range(1, most + 1):
        lost = needle(order[:fewest], cases)
        if np.mean([row["needle"] for row in lost]) < 0.2:
            break
    rng = np.random.default_rng([options.seed, 1])
    others: list[Row] = []
    for first in range(0, len(cases), ROWS):
        drawn_heads = rng.choice(len(order) - fewest, fewest, replace=False) + fewest
        others += needle([order[i] for i in drawn_heads], cases[first : first + ROWS])
    plural = "s" * (fewest > 1)
    systems[f"without {fewest} retrieval head{plural}"] = lost
    systems[f"without {fewest} other{plural}"] = others
    parameters = sum(p.numel() for p in model.parameters())
    extra = {
        "parameters": parameters, "heads": len(order), "fewest": fewest,
        "retrieval_heads": [list(head) for head in order[:fewest]],
        "scores": [[round(float(score), 3) for score in layer] for layer in scores],
    }  # fmt: skip
    return Outcome(systems=systems, default="reference", extra=extra)


def _page(kind: str, case: int, seed: int) -> tokens.Page:
    return KINDS[kind](np.random.default_rng([seed, 2, list(KINDS).index(kind), case]))


def _right(model: Any, kind: str, cases: Sequence[int], options: Options) -> list[Mask]:
    """For every case, which of its answer tokens greedy decoding gets right while those before are."""
    import torch

    result: list[Mask] = []
    starts = options.progress(range(0, len(cases), ROWS), kind)
    for first in starts:
        pages = [_page(kind, case, options.seed) for case in cases[first : first + ROWS]]
        ids = torch.from_numpy(np.stack([page.ids for page in pages]))
        asked = torch.from_numpy(np.stack([page.answer for page in pages]))[:, 1:]
        with torch.inference_mode():
            hidden = model.model(ids[:, :-1], use_cache=False).last_hidden_state
            for row in range(len(pages)):
                said = model.lm_head(hidden[row][asked[row]]).argmax(1)
                result.append((said == ids[row, 1:][asked[row]]).numpy())
    return result


def _scores(model: Any, options: Options) -> Any:
    """The retrieval score of every head, on needles that are not among the cases."""
    import torch

    from mnemic.attention.retrieval_heads import retrieval_scores

    found = []
    for i in range(50):
        page = tokens.needle(np.random.default_rng([options.seed, 3, i]), LENGTH)
        key = np.flatnonzero(page.ids == page.ids[-2])[0]
        needle = np.arange(LENGTH) == key + 1
        found.append(tuple(torch.from_numpy(each) for each in (page.ids, needle, page.answer)))
    return retrieval_scores(model, found)  # type: ignore[arg-type]
