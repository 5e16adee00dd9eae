"""The matrix memories' GPU programs against the float64 loop, matrix products, and flash-linear-attention."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from mnemic.bench.runner import Options, Outcome
from mnemic.types import MnemicError

if TYPE_CHECKING:
    from torch import Tensor

NAME = "recurrent_gpu"
FOLDER = None
PROTOCOL = """
The chunks of a matrix memory on a GPU, queries, keys and values given: 128 texts and heads, keys and values of
64, random, for each kind of memory. `forward_ms` and `both_ms` (forward and backward) are medians of 10 runs by
the GPU's clock, launches included; `tokens_per_second` (of one head) and `extra_mib`, the most memory held
beside the inputs, are those of both, `times_products` how much faster they are than matrix products in the same
repeat. `error_outputs` and `error_gradients` are distances to the float64 loop
over 256 tokens of 6 texts with decays of exp(-50) among the others, relative to its length; the loop reads
the same rounded inputs, and the gradient is the worst of all inputs'. Systems of a kind: its programs, with
tokens in bfloat16 and in float32; matrix products in float32, what a GPU without Triton does; and
flash-linear-attention's kernels in bfloat16, where that is installed (what it refuses is left out). A case is a
repeat with inputs of its own, systems in turn. --option length=8192, dim=64 and repeats=5; kinds=a,b for some;
peers=a,b for the kinds that are also asked of flash-linear-attention (default: all).
"""

KINDS = ("no decay", "decay a head", "decay a channel", "delta rule", "gated delta rule")
PRODUCTS = "matrix products, float32"
ROWS, RUNS = 128, 10
REFUSALS = (RuntimeError, ValueError, AssertionError)  # of a peer: NotImplementedError is the first's

Given = dict[str, "Tensor"]
Form = Callable[..., "tuple[Tensor, Tensor]"]


def run(data: Path | None, options: Options) -> Outcome:
    """Measure every form of every kind.

    Raises:
        MnemicError: no GPU is found, or no Triton.
    """
    import torch

    if not torch.cuda.is_available():
        raise MnemicError("recurrent_gpu needs a GPU that PyTorch finds (torch.cuda.is_available())")
    if find_spec("triton") is None:
        raise MnemicError("recurrent_gpu needs Triton beside PyTorch: pip install triton")
    length, dim = int(options.extra.get("length", 8192)), int(options.extra.get("dim", 64))
    repeats = int(options.extra.get("repeats", 5))
    kinds = options.extra["kinds"].split(",") if "kinds" in options.extra else KINDS
    peers = options.extra["peers"].split(",") if "peers" in options.extra else KINDS
    systems: dict[str, list[dict[str, Any]]] = {}
    for kind in options.progress(kinds, "kinds"):
        forms = ours()
        if kind in peers and (peer := theirs(kind)) is not None:
            forms["flash-linear-attention"] = (torch.bfloat16, peer)
        for i in range(repeats):
            torch.manual_seed(options.seed + i)
            short, long = inputs(kind, 6, 256, dim, faded=True), inputs(kind, ROWS, length, dim)
            for name, (dtype, form) in forms.items():
                row = {"id": f"repeat-{i}"} | cost(form, long, dtype) | errors(form, short, dtype)
                systems.setdefault(f"{kind}: {name}", []).append(row)
        beside(systems, kind)
    extra = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "length": length, "dim": dim}
    return Outcome(systems, f"{kinds[0]}: programs", extra, repeats=True)


def beside(systems: Mapping[str, list[dict[str, Any]]], kind: str) -> None:
    """Every form's time beside that of matrix products, repeat by repeat."""
    products = systems[f"{kind}: {PRODUCTS}"]
    for rows in (rows for name, rows in systems.items() if name.startswith(f"{kind}: ")):
        for row, theirs in zip(rows, products, strict=True):
            if "both_ms" in row:
                row["times_products"] = theirs["both_ms"] / row["both_ms"]


def ours() -> dict[str, tuple[Any, Form]]:
    """Forms of any kind, and the type of the tokens they are given."""
    import torch

    from mnemic.recurrent.engine import fused, linear

    return {
        "programs": (torch.bfloat16, fused.chunked),
        "programs, float32": (torch.float32, fused.chunked),
        PRODUCTS: (torch.float32, functools.partial(linear.products, chunk=64)),
    }


def theirs(kind: str) -> Form | None:
    """flash-linear-attention's kernel for a kind, given and answering what ours does."""
    try:
        from fla.ops.delta_rule import chunk_delta_rule
        from fla.ops.gated_delta_rule import chunk_gated_delta_rule
        from fla.ops.gla import chunk_gla
        from fla.ops.linear_attn import chunk_linear_attn
        from fla.ops.simple_gla import chunk_simple_gla
    except ImportError:
        return None
    kernel: Callable[..., Any] = {
        "no decay": functools.partial(chunk_linear_attn, normalize=False),
        "decay a head": chunk_simple_gla,
        "decay a channel": chunk_gla,
        "delta rule": chunk_delta_rule,
        "gated delta rule": chunk_gated_delta_rule,
    }[kind]

    def form(state: Tensor, **given: Tensor) -> tuple[Tensor, Tensor]:
        names = {"log_decay": "g", "rate": "beta"}
        one_head = {names.get(name, name): x.unsqueeze(2) for name, x in given.items()}
        out, end = kernel(**one_head, scale=1.0, initial_state=state.unsqueeze(1), output_final_state=True)
        return out.squeeze(2), end.squeeze(1)

    return form


def inputs(kind: str, rows: int, length: int, dim: int, *, faded: bool = False, device: str = "cuda") -> Given:
    """Random tokens [rows, length, dim] and a state; `faded`: every tenth decay is exp(-50)."""
    import torch

    q, k, v = (torch.randn(rows, length, dim, device=device) for _ in range(3))
    given = {"q": q * dim**-0.5, "k": torch.nn.functional.normalize(k, dim=-1), "v": v}
    given["state"] = torch.randn(rows, dim, dim, device=device)
    if kind.startswith(("decay", "gated")):
        shape = k.shape if kind == "decay a channel" else k.shape[:2]
        given["log_decay"] = -0.1 * torch.rand(shape, device=device)
        if faded:
            given["log_decay"][torch.rand(shape, device=device) < 0.1] = -50
    if "delta" in kind:
        given["rate"] = torch.rand(rows, length, device=device)
    return given


def rounded(given: Given, dtype: Any) -> Given:
    return {name: x.to(dtype) if name in ("q", "k", "v") else x for name, x in given.items()}


def answers(form: Form, given: Given, weights: Tensor, *, back: bool = True) -> list[Tensor]:
    """The outputs and, if it goes back, the gradient of every input."""
    import torch

    given = {name: x.detach().requires_grad_(back) for name, x in given.items()}
    out, _ = form(**given)
    if not back:
        return [out]
    return [out.detach(), *torch.autograd.grad(out, list(given.values()), weights.to(out.dtype))]


def errors(form: Form, given: Given, dtype: Any) -> dict[str, float]:
    """Distances to the float64 loop over the same rounded inputs; of what is refused, none."""
    import torch

    from mnemic.recurrent.engine import linear

    given = rounded(given, dtype)
    weights = torch.randn_like(given["v"])
    expected = answers(linear.loop, {name: x.double() for name, x in given.items()}, weights.double())
    found: dict[str, float] = {}
    for back in (False, True):
        try:
            got = answers(form, given, weights, back=back)
        except REFUSALS:
            break
        away = [float((x.double() - y).norm() / y.norm()) for x, y in zip(got, expected, strict=False)]
        found["error_outputs"] = away[0]
        if back:
            found["error_gradients"] = max(away[1:])
    return found


def cost(form: Form, given: Given, dtype: Any) -> dict[str, float]:
    """Times and memory; of what is refused, none."""
    import torch

    given = rounded(given, dtype)
    weights = torch.randn_like(given["v"])
    found: dict[str, float] = {}
    for name, back in (("forward_ms", False), ("both_ms", True)):
        try:
            answers(form, given, weights, back=back)  # what is done but once is not timed
        except REFUSALS:
            break
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        found[name] = milliseconds(functools.partial(answers, form, given, weights, back=back))
        if back:
            found["extra_mib"] = (torch.cuda.max_memory_allocated() - before) / 2**20
            found["tokens_per_second"] = math.prod(given["v"].shape[:2]) / found[name] * 1000
    return found


def milliseconds(work: Callable[[], object]) -> float:
    """The median of some runs, by the GPU's own clock."""
    import torch

    taken: list[float] = []
    for _ in range(RUNS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        begin.record()
        work()
        end.record()
        end.synchronize()
        taken.append(begin.elapsed_time(end))
    return median(taken)
