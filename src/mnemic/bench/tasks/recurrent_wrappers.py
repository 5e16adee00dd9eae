"""What a memory around a Hugging Face model carries from segment to segment: passkeys told segments ago."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mnemic.bench.runner import Options, Outcome
from mnemic.bench.training import fingerprint, train
from mnemic.types import MnemicError

NAME = "recurrent_wrappers"
FOLDER = None
PROTOCOL = """
A tiny Llama (width 32, 2 layers) is trained from scratch, together with the memory around it, to say a
passkey of 2 digits at the end of a text of 4 segments of 16 tokens; it was told in the first or second of
them, the model sees one segment at a time. "alone" is the same model without memory, "whole" the model
reading all 64 tokens at once. The loss is that of the passkey plus that of every next token; the same start
seed, texts, steps and AdamW for all. "X-emptied" is X, trained as ever, asked with an empty memory before the
last segment. A case is a test text; `accuracy` is the share of digits said, chance 0.1. --option steps=400;
layers=a,b for some. A model that was trained to its end is not trained again when a run goes on.
"""

SEGMENT, SEGMENTS, DIGITS = 16, 4, 2
TEST_SEED = 10**6
OPTIONS: dict[str, dict[str, Any]] = {
    "alone": {"sensory": 0, "memories": 0},
    "whole": {"sensory": 0, "memories": 0},
    "hmt": {"sensory": 0, "memories": 4},
    "cmr": {"slots": 4, "segments": 4},
    "synaptic-resonance": {"heads": 2},
}


def run(data: Path | None, options: Options) -> Outcome:
    """Train the model with every memory and test it.

    Raises:
        MnemicError: an unknown memory, or transformers is not installed.
    """
    steps = int(options.extra.get("steps", 400))
    layers = options.extra["layers"].split(",") if "layers" in options.extra else list(OPTIONS)
    unknown = [layer for layer in layers if layer not in OPTIONS]
    if unknown:
        raise MnemicError(f"there is no memory {unknown[0]!r}; there are: {', '.join(OPTIONS)}")
    systems: dict[str, list[dict[str, Any]]] = {}
    made = {layer: measure(layer, steps, options) for layer in options.progress(layers, "memories")}
    for layer, each in made.items():
        for system, shares in ((layer, each["whole"]), (f"{layer}-emptied", each["emptied"])):
            rows = [{"id": f"text-{i}", "accuracy": share} for i, share in enumerate(shares)]
            systems[system] = options.chosen(rows, lambda row: row["id"])
    sizes = {layer: each["nbytes"] for layer, each in made.items()}
    learnt = {layer: each["learnt"] for layer, each in made.items()}
    return Outcome(systems, layers[-1], {"state_bytes": sizes, "learnt": learnt, "steps": steps})


def measure(layer: str, steps: int, options: Options) -> dict[str, Any]:
    """Train one model and test it, unless that was done before."""
    import torch
    from torch import Tensor
    from torch.nn import functional as F

    from mnemic.recurrent import wrap

    length = SEGMENT * SEGMENTS
    name = "hmt" if layer in ("alone", "whole") else layer
    segment = length if layer == "whole" else SEGMENT
    model = wrap(name, tiny(options.seed), segment=segment, **OPTIONS[layer])
    model.depth = SEGMENTS

    def draw(n: int, seed: int) -> tuple[Tensor, Tensor]:
        from mnemic.worlds.recall_tasks import passkey

        near, far = (passkey(n, length, seed=seed, digits=DIGITS, depth=depth) for depth in (0.1, 0.4))
        tokens, targets = far.tokens, far.targets
        tokens[::2], targets[::2] = near.tokens[::2], near.targets[::2]
        return torch.from_numpy(tokens), torch.from_numpy(targets)

    texts, said = draw(steps * 32, options.seed)
    test, asked = draw(200, TEST_SEED)

    def loss(step: int) -> Tensor:
        batch = slice(32 * step, 32 * step + 32)
        logits, _ = model(texts[batch])
        passkeys = F.cross_entropy(logits.flatten(0, 1), said[batch].flatten(), ignore_index=-100)
        return passkeys + F.cross_entropy(logits[:, :-1].flatten(0, 1), texts[batch, 1:].flatten())

    @torch.no_grad()
    def right(start: int = 0) -> list[float]:
        logits, _ = model(test[:, start:])
        wanted = asked[:, start:]
        hits = (logits.argmax(-1) == wanted) & (wanted >= 0)
        shares: list[float] = (hits.sum(1) / (wanted >= 0).sum(1)).tolist()
        return shares

    def made() -> dict[str, Any]:
        learnt = train(model, loss, steps, 5e-3, lambda: sum(right()) / len(test))
        with torch.no_grad():
            _, state = model(test[:1])
        emptied = right(length - SEGMENT)
        return {"whole": right(), "emptied": emptied, "nbytes": state.nbytes, "learnt": learnt}

    what = {"bench": NAME, "layer": layer, "options": OPTIONS[layer], "steps": steps, "seed": options.seed}
    return options.kept(what | {"first": fingerprint(model, loss)}, made)


def tiny(seed: int) -> Any:
    """A fresh Llama of width 32."""
    import torch

    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ModuleNotFoundError as error:
        raise MnemicError(f"a model to go around needs {error.name}; install mnemic[hf]") from None
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=19, initializer_range=0.15, bos_token_id=None, eos_token_id=None, pad_token_id=None, **sizes
    )
    return LlamaForCausalLM(config)
