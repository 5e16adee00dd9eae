"""What the papers of memories beside a cache report: chunks of text reused elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mnemic.bench.runner import Options, Outcome, Row
from mnemic.types import Ints, MnemicError
from mnemic.worlds import tokens

NAME = "kv_beside"
FOLDER = None
PROTOCOL = """The reference model, asked for the value of a fact; right is the greedy next token.
cachecraft: a prompt of 8 chunks of 48 tokens is read once and its chunks are put together in another order,
in which none follows the one it followed. across: the key is the last token of a chunk and its value the first
of the chunk that follows now; inside: key and value stand in one chunk, beside two other facts. recomputed:
share of the tokens that went through the model again; divergence: nats from what the model says when it reads
the new order anew, of the question across. "read anew" recomputes all, "chunks reused" nothing; "cachecraft,
scrambled" as many tokens of each chunk, drawn by lot. A case is a prompt.
Options: cases=200, methods=NAMES."""

CASES = 200
CHUNKS, CHUNK, INSIDE = 8, 48, 3
Systems = dict[str, list[Row]]


def run(data: Path | None, options: Options) -> Outcome:
    """Measure these methods (all), each beside its baseline and its twin.

    Raises:
        MnemicError: a method that is not measured here.
    """
    from mnemic.kv.files import fingerprint
    from mnemic.models import load_reference

    given = options.extra.get("methods")
    wanted = given.split(",") if given else list(MEASURES)
    if unknown := [name for name in wanted if name not in MEASURES]:
        raise MnemicError(f"{', '.join(unknown)} is not measured here; there are: {', '.join(MEASURES)}")
    model, _ = load_reference()
    cases = options.chosen(range(int(options.extra.get("cases", CASES))), lambda i: f"{options.seed}.{i}")
    systems: Systems = {}
    for method in wanted:
        systems |= MEASURES[method](model, cases, options)
    return Outcome(systems, wanted[0], {"model": fingerprint(model)[:16]})


def _cachecraft(model: Any, cases: list[int], options: Options) -> Systems:
    import torch

    from mnemic.kv import cachecraft

    systems: Systems = {}
    for case in options.progress(cases, "cachecraft"):
        rng = np.random.default_rng([options.seed, 1, case])
        pieces, ends, told = chunked(rng)
        kept = cachecraft.keep(model, [torch.tensor([tokens.START]), *map(torch.from_numpy, pieces)])
        order = shuffled(rng)
        chunks = [kept[0], *(kept[1 + i] for i in order)]
        lot = [replace(c, inter=c.inter[torch.from_numpy(rng.permutation(len(c.ids)))]) for c in chunks]
        ids = torch.cat([chunk.ids for chunk in chunks])
        at = int(rng.integers(CHUNKS - 1))
        linked = np.stack(
            [ends[order[:-1], 0], ends[order[1:], 1]], 1
        )  # key, and the value that follows it now
        asked = {
            "across": tokens.ask_value(linked, at),
            "inside": tokens.ask_value(told, int(rng.integers(len(told)))),
        }
        with torch.inference_mode():
            plain = {
                kind: model(torch.cat((ids, torch.tensor(question)))[None], use_cache=False).logits[0, -1]
                for kind, (question, _) in asked.items()
            }
        for system, parts, alpha in (
            ("cachecraft", chunks, 0.25),
            ("cachecraft, scrambled", lot, 0.25),
            ("cachecraft, alpha=1", chunks, 1.0),
            ("chunks reused", chunks, 0.0),
            ("read anew", None, 0.0),
        ):
            row: Row = {"id": f"{options.seed}.chunks.{case}", "recomputed": 1.0}
            said = plain
            if parts is not None:
                cache, again = cachecraft.place(model, parts, alpha=alpha)
                row["recomputed"] = again / len(ids)
                said = {kind: _asked(model, cache, question) for kind, (question, _) in asked.items()}
            for kind, (_, answer) in asked.items():
                row[kind] = float(int(said[kind].argmax()) == answer[0])
            right, ours = (each["across"].double().log_softmax(0) for each in (plain, said))
            row["divergence"] = float((right.exp() * (right - ours)).sum())
            systems.setdefault(system, []).append(row)
    return systems


def chunked(rng: np.random.Generator) -> tuple[list[Ints], Ints, Ints]:
    """Chunks; the key that ends and the value that begins each [chunks, 2]; the facts told inside [n, 2]."""
    told = tokens.facts(rng, CHUNKS * (1 + INSIDE))
    ends, inside = told[:CHUNKS], told[CHUNKS:]
    pieces = []
    for i, (key, value) in enumerate(ends):
        text = tokens.tell(rng, inside[i * INSIDE : (i + 1) * INSIDE], CHUNK - 1)[1:]
        pieces.append(np.concatenate([[tokens.VALUES + value], text, [tokens.KEYS + key]]))
    return pieces, ends, inside


def shuffled(rng: np.random.Generator) -> Ints:
    """An order of the chunks in which none follows the one it followed."""
    while True:
        order = rng.permutation(CHUNKS)
        if not (np.diff(order) == 1).any():
            return order


def _asked(model: Any, cache: Any, question: list[int]) -> Any:
    """Logits after the question, which is taken back."""
    import torch

    with torch.inference_mode():
        logits = model(torch.tensor([question]), past_key_values=cache).logits[0, -1]
    cache.crop(-len(question))
    return logits


MEASURES: dict[str, Callable[[Any, list[int], Options], Systems]] = {"cachecraft": _cachecraft}
