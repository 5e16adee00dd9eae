"""Key-value retrieval (paper 49): seventy-five pairs remembered as records, one asked for by its key."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from mnemic.bench.held import held
from mnemic.bench.runner import Options, Outcome, Row
from mnemic.read.recall import recall
from mnemic.types import Filter, MnemicError, Record

NAME = "keyvalue"
FOLDER = "lost_in_the_middle"
PROTOCOL = """The 75-key file of Lost in the Middle: every pair is a record "key: value" in the space of its
example, asked for by its key, by words alone (keys are random: there is no meaning to compare). accuracy: the
value stands in the first hit."""

FILE = "kv-retrieval-75_keys.jsonl.gz"


def run(data: Path, options: Options) -> Outcome:
    try:
        with gzip.open(data / FILE, "rt", encoding="utf-8") as lines:
            examples = [(str(number), json.loads(line)) for number, line in enumerate(lines)]
    except FileNotFoundError:
        raise MnemicError(f"{data} is not the Lost in the Middle folder: {FILE} is missing") from None
    chosen = options.chosen(examples, lambda example: example[0])
    records = [
        Record(text=f"{key}: {value}", space=number, source="pairs", order=place)
        for number, example in chosen
        for place, (key, value) in enumerate(example["ordered_kv_records"])
    ]
    rows: list[Row] = []
    with held(records, None) as (store, mirror):
        for number, example in options.progress(chosen, NAME):
            found = recall(store, mirror, None, example["key"], where=Filter(space=number), k=1)
            rows.append(
                {"id": number, "accuracy": float(bool(found) and example["value"] in found[0].record.text)}
            )
    return Outcome({"mnemic": rows})
