"""What papers of memories beside a cache report: chunks reused elsewhere, states of texts, text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mnemic.bench.bounded import LENGTH
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
knn-lm: 40 pages of 448 tokens, telling 20 of the same 100 facts each, are read into a datastore; a further page
tells 20 of them. nats: surprise a token of it; gained, lost: share of the tokens that neighbours make likelier
by more than a thousandth of a nat, and less likely; facts, words: nats of the values told, and of the other
tokens. nearness: nats of entropy of what the neighbours say, on the page's tokens 32 to 127; nearness_own: on
those that the mixture writes in their place. "scrambled" deals the tokens that followed anew among the states.
A case is a page.
infiniretri: a text of 4,096 tokens with 60 facts is read 256 tokens at a time, and of its sentences of 8 tokens
as many are kept as 128 tokens hold, by the layer where this model retrieves (the third of four; by its last,
"infiniretri, last layer"). needle: asked after reading what is kept; held: key and value are there. "scrambled"
keeps as many sentences by lot, "the last sentences" the text's end. A case is a text.
Options: cases=200, methods=NAMES."""

CASES = 200
CHUNKS, CHUNK, INSIDE = 8, 48, 3
LONG, LONG_FACTS, SENTENCE, ROOM, RETRIEVES = 4096, 60, 8, 128, 2
KNOWN, TOLD, PAGES = 100, 20, 40
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


def _knn_lm(model: Any, cases: list[int], options: Options) -> Systems:
    import torch

    from mnemic.kv.knn_lm import Datastore

    rng = np.random.default_rng([options.seed, 2])
    told = tokens.facts(rng, KNOWN)
    store, lot = Datastore(), Datastore()
    for _ in range(PAGES):
        store.read(model, torch.from_numpy(tokens.tell(rng, _some(rng, told), LENGTH)))
    lot.index.add(store.index.keys, rng.permutation(store.index.ids))
    systems: Systems = {}
    for case in options.progress(cases, "knn-lm"):
        drawn = np.random.default_rng([options.seed, 3, case])
        page = torch.from_numpy(tokens.tell(drawn, _some(drawn, told), LENGTH))
        value = (page[1:] >= tokens.VALUES) & (page[1:] < tokens.WORDS)
        with torch.inference_mode():
            states = model.base_model(input_ids=page[None], use_cache=False).last_hidden_state[0]
            logits = model.get_output_embeddings()(states)
        alone = _nats(logits.log_softmax(-1), page)
        mixtures = {"knn-lm": store.mix(logits, states), "knn-lm, scrambled": lot.mix(logits, states)}
        found = {name: _nats(log_p, page) for name, log_p in mixtures.items()} | {"the model alone": alone}
        for system, nats in found.items():
            row: Row = {"id": f"{options.seed}.pages.{case}", "nats": float(nats.mean())}
            row |= {"facts": float(nats[value].mean()), "words": float(nats[~value].mean())}
            if system != "the model alone":
                row["gained"] = float((nats < alone - 1e-3).float().mean())
                row["lost"] = float((nats > alone + 1e-3).float().mean())
            systems.setdefault(system, []).append(row)
        torch.manual_seed(case)
        attached = store.attach(model)
        own = model.generate(page[None, :32], max_new_tokens=96, do_sample=True, top_k=0)
        attached.remove()
        with torch.inference_mode():
            after = model.base_model(input_ids=own, use_cache=False).last_hidden_state[0]
        for name, here in (("nearness", states[32:128]), ("nearness_own", after[32:])):
            p = store.probabilities(here, logits.shape[-1])
            systems["knn-lm"][-1][name] = float(torch.special.entr(p).sum(1).mean())
    return systems


def _some(rng: np.random.Generator, told: Ints) -> Ints:
    chosen: Ints = told[rng.choice(len(told), TOLD, replace=False)]
    return chosen


def _nats(log_p: Any, page: Any) -> Any:
    """Surprise of each token but the first [n - 1]."""
    return -log_p[:-1].gather(1, page[1:, None])[:, 0]


def _infiniretri(model: Any, cases: list[int], options: Options) -> Systems:
    import torch

    from mnemic.kv import infiniretri

    start = torch.tensor([tokens.START])
    systems: Systems = {}
    for case in options.progress(cases, "infiniretri"):
        rng = np.random.default_rng([options.seed, 4, case])
        told = tokens.facts(rng, LONG_FACTS)
        text = torch.from_numpy(tokens.tell(rng, told, LONG + 1)[1:])
        sentences = torch.split(text, SENTENCE)
        asked, answer = tokens.ask_value(told, int(rng.integers(LONG_FACTS)))
        question = torch.tensor(asked)
        room, count = {"chunk": 256, "room": ROOM, "tokens": 32}, ROOM // SENTENCE
        kept = infiniretri.keep(model, sentences, question, layer=RETRIEVES, **room)
        chosen = {
            "infiniretri": kept,
            "infiniretri, last layer": infiniretri.keep(model, sentences, question, **room),
            "infiniretri, scrambled": sorted(rng.permutation(len(sentences))[: len(kept)].tolist()),
            "the last sentences": list(range(len(sentences) - count, len(sentences))),
        }
        for system, some in chosen.items():
            text = torch.cat((start, *(sentences[i] for i in some)))
            with torch.inference_mode():
                said = model(torch.cat((text, question))[None], use_cache=False).logits[0, -1].argmax()
            held = bool((text == asked[1]).any() and (text == answer[0]).any())
            row: Row = {"id": f"{options.seed}.texts.{case}", "needle": float(int(said) == answer[0])}
            systems.setdefault(system, []).append(
                row | {"held": float(held), "kept_tokens": float(len(text) - 1)}
            )
    return systems


MEASURES: dict[str, Callable[[Any, list[int], Options], Systems]] = {
    "cachecraft": _cachecraft,
    "knn-lm": _knn_lm,
    "infiniretri": _infiniretri,
}
