"""Times what others offer; run by an interpreter whose environment has them, so it imports nothing of ours.

PYTHON peers.py LENGTH REPEATS SEED DIM HEADS   -> one line of JSON: name to a row a repeat
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch


def titans(length: int, dim: int, heads: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """titans-pytorch: its neural memory, chunks of 16 tokens as here.

    By default it takes all gradients at the weights the text began with, so that nothing waits for a chunk;
    with weights anew after every chunk its definition is ours.
    """
    from titans_pytorch import NeuralMemory

    x = torch.randn(1, length, dim)

    def read(memory: Any) -> Any:
        return memory(x)[0]

    for name, batch in (("titans-pytorch", None), ("titans-pytorch, weights anew each chunk", 16)):
        memory = NeuralMemory(dim=dim, dim_head=dim // heads, heads=heads, chunk_size=16, batch_size=batch)
        yield name, partial(read, memory)


def plain(length: int, dim: int, heads: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """flash-linear-attention: its plain forms of linear attention in chunks and of the delta rule by token."""
    from fla.ops.delta_rule.naive import delta_rule_chunkwise, delta_rule_recurrence
    from fla.ops.linear_attn.naive import naive_chunk_linear_attn

    def given(order: str) -> list[torch.Tensor]:
        shape = (1, length, heads, dim // heads) if order == "bthd" else (1, heads, length, dim // heads)
        return [torch.randn(shape, requires_grad=True) for _ in range(3)]

    q, k, v = given("bthd")
    yield "fla-linear-attention", lambda: naive_chunk_linear_attn(q, k, v)
    q2, k2, v2 = given("bhtd")
    rate = torch.rand(1, heads, length)
    unit = torch.nn.functional.normalize
    yield "fla-delta-rule", lambda: delta_rule_chunkwise(unit(q2, dim=-1), unit(k2, dim=-1), v2, rate)[0]
    yield (
        "fla-delta-rule-by-token",
        lambda: delta_rule_recurrence(unit(q2, dim=-1), unit(k2, dim=-1), v2, rate)[0],
    )


def main(length: int, repeats: int, seed: int, dim: int, heads: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rows: dict[str, list[dict[str, float]]] = {}
    for library in (titans, plain):
        try:
            for name, forward in library(length, dim, heads):
                rows[name] = []
                torch.autograd.backward(forward().square().sum())
                for _ in range(repeats):
                    begun = time.process_time()
                    torch.autograd.backward(forward().square().sum())
                    took = time.process_time() - begun
                    rows[name].append({"seconds_at_once": took, "tokens_per_second": length / took})
        except Exception as error:  # what is not installed or does not run here is left out, and said
            what = str(library.__doc__).splitlines()[0]
            print(f"{what}: {type(error).__name__}: {error}", file=sys.stderr)
    print(json.dumps({name: each for name, each in rows.items() if each}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
