"""How much is searched for the best key, by lists that know the queries and by lists of keys alone."""

from __future__ import annotations

from pathlib import Path

from mnemic.bench.runner import Options, Outcome, Row

NAME = "kv_search"
FOLDER = None
EQUAL = 1e-4  # share of a score by which equal keys differ
PROTOCOL = """Keys and queries are those of the 8 key-value heads of the reference model
(mnemic.models.load_reference) while it reads facts in filler and is asked for some (as in the bench
kv_speed), all keys as far away as the window reaches. The keys of each 4,096 tokens are sorted into 512
lists, which are searched in the order of what their best key is hoped to score, as in retrieval-attention.
"seen": lists of keys that the queries of the text see alike; "keys alone": lists of keys near each other,
whatever is asked (the same with queries that are noise). searched: % of all lists up to the first that holds
a key whose inner product with the query is the largest, to one part in ten thousand; found: whether that is
within the 2% that the method looks into. "seen, head 3" is that head alone. A case is a query and a head;
heads that are silent for good, and ask nothing, are left out.
Options: length=65536, queries=64."""


def run(data: Path | None, options: Options) -> Outcome:
    import torch

    from mnemic.bench.tasks.kv_speed import CAP, recorded
    from mnemic.kv.retrieval_attention import RetrievalAttention, estimates, listed

    method = RetrievalAttention()
    length, queries = int(options.extra.get("length", 65536)), int(options.extra.get("queries", 64))
    texts = recorded([length], queries, options.seed)
    assert texts.rotary is not None
    keys, heard, asked = (
        texts.rotary.place(x, torch.full((1, 1, 1), place))[0]
        for x, place in ((texts.keys, 0), (texts.heard, CAP), (texts.queries, CAP))
    )
    noise = torch.randn(keys.shape, generator=torch.Generator().manual_seed(options.seed))
    chosen = options.chosen(range(asked.shape[1]), lambda i: f"{options.seed}.{i}")
    systems: dict[str, list[Row]] = {"seen": [], "keys alone": []}
    live = [head for head in range(len(keys)) if asked[head].any()]
    for head in options.progress(live, "heads"):
        for system, known in (("seen", heard), ("keys alone", noise)):
            hoped: list[torch.Tensor] = []
            reached: list[torch.Tensor] = []
            for start in range(0, length, method.segment):
                some = slice(start, start + method.segment)
                kept = known[None, None, head, some][:, :, method.every - 1 :: method.every]
                own = keys[None, None, head, some]
                made = listed(own, torch.ones(own.shape[:3]).bool(), kept, method.lists)
                score = estimates(
                    asked[None, None, head], made["means"], made["deviations"], made["blind"], method.reach
                )[0, 0]
                size = made["ends"].diff(prepend=torch.zeros(1, 1, 1, dtype=torch.int32))[0, 0]
                hoped.append(score.masked_fill(size == 0, -torch.inf))
                label = torch.arange(len(size)).repeat_interleave(size).expand(len(score), -1)
                true = asked[head] @ own[0, 0, made["sorted"][0, 0].long()].T
                reached.append(torch.full_like(score, -torch.inf).scatter_reduce(1, label, true, "amax"))
            rank = torch.cat(hoped, 1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
            best = torch.cat(reached, 1)
            most = best.amax(1, keepdim=True)
            rank = rank.masked_fill(best < most - EQUAL * most.abs(), best.shape[1]).amin(1)
            searched = (100 * (rank + 1) / best.shape[1]).tolist()
            rows: list[Row] = [
                {
                    "id": f"{options.seed}.{head}.{i}",
                    "searched": searched[i],
                    "found": float(searched[i] <= 100 * method.probe),
                }
                for i in chosen
            ]
            systems[system] += rows
            systems[f"{system}, head {head}"] = [{**row, "id": f"{row['id']} alone"} for row in rows]
    return Outcome(systems, "seen", {"length": length})
