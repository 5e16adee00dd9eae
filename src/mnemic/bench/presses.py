"""What kvpress makes of a model and texts; run by an interpreter that has it, so nothing of ours is imported.

PYTHON presses.py FOLDER PAGES.npz SHARE SINKS WINDOW  -> one line of JSON: method to what was measured
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

ROWS = 25
THIN = 0.4  # of the channels of keys, let go by ThinK


def presses(share: float, sinks: int, window: int) -> Iterator[tuple[str, Any]]:
    """The methods both have, by our names."""
    import kvpress

    let_go = 1 - share
    yield "full", None
    yield "streaming", kvpress.StreamingLLMPress(let_go, n_sink=sinks)
    yield "snapkv", kvpress.SnapKVPress(let_go, window_size=window)
    yield "tova", kvpress.TOVAPress(let_go)
    yield "pyramidkv", kvpress.PyramidKVPress(let_go, window_size=window)
    yield "h2o", kvpress.ObservedAttentionPress(let_go)
    yield "think", kvpress.ThinKPress(THIN, window_size=window)


def measure(model: Any, press: Any, pages: Any, kinds: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    began, most = time.process_time(), 0
    for kind in kinds:
        texts, questions = (torch.from_numpy(pages[f"{kind}_{what}"]) for what in ("text", "question"))
        right: list[float] = []
        for first in range(0, len(texts), ROWS):
            some = slice(first, first + ROWS)
            cache = read(model, press, texts[some])
            owned = {
                t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
                for layer in cache.layers
                for t in (layer.keys, layer.values)
            }
            found["nbytes"] = sum(owned.values()) / len(texts[some])
            said = ask(model, cache, questions[some], texts.shape[1])
            right += (said.numpy() == pages[f"{kind}_answer"][some]).astype(float).tolist()
        found[kind] = right
    found["seconds"] = time.process_time() - began
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        read(model, press, texts[:1])
    events = [each for each in watched.profiler.kineto_results.events() if each.name() == "[memory]"]
    held = 0
    for each in sorted(events, key=lambda each: int(each.start_ns())):
        held += each.nbytes()
        most = max(most, held)
    return found | {"peak": most}


@torch.inference_mode()
def read(model: Any, press: Any, ids: torch.Tensor) -> Any:
    """The texts [b, n] read at once, then compressed."""
    from transformers import DynamicCache

    cache = DynamicCache()
    if press is None:
        model.model(input_ids=ids, past_key_values=cache)
    else:
        with press(model):
            model.model(input_ids=ids, past_key_values=cache)
    return cache


@torch.inference_mode()
def ask(model: Any, cache: Any, questions: torch.Tensor, at: int) -> torch.Tensor:
    """The greedy token after each question [b, m], whose tokens stand from `at` on; one by one, because layers
    may have kept different numbers of tokens."""
    for i, token in enumerate(questions.unbind(1)):
        place = torch.full((len(token), 1), at + i)
        out = model(input_ids=token[:, None], past_key_values=cache, position_ids=place)
    found: torch.Tensor = out.logits[:, -1].argmax(1)
    return found


def main(folder: str, pages: str, share: str, sinks: str, window: str) -> None:
    from transformers import LlamaForCausalLM

    torch.set_num_threads(1)
    loaded = np.load(pages)
    kinds = sorted({name.rpartition("_")[0] for name in loaded.files})
    done: dict[str, Any] = {}
    for name, press in presses(float(share), int(sinks), int(window)):
        how = "eager" if name == "h2o" else "sdpa"
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=how).eval()
        try:
            done[name] = measure(model, press, loaded, kinds)
        except Exception as error:  # what does not run on this model is said, and the others are measured
            done[name] = {"failed": f"{type(error).__name__}: {error}"}
    print(json.dumps(done))


if __name__ == "__main__":
    main(*sys.argv[1:])
