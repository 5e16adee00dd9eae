"""Memory as a state: layers that read any length of text into a state of fixed size.

    layer = build("gated-delta-rule", dim=256, heads=4)
    y, state = layer(x)                     # x [batch, length, 256]
    y, state = layer(more, state)           # read on; any split of the text gives the same outputs
    y, state = layer.step(token, state)     # one token, [batch, 256]
    state.save("book.safetensors"); State.load("book.safetensors")
    reader = wrap("hmt", model, segment=256)    # around a Hugging Face model
    logits, state = reader(ids)

A layer is four choices (Miras, paper 63): structure, attentional bias, retention and learning rule.
Its file says by `KIND` how it is used: "causal" (as above, and where nothing is said), "encoder" (sees all its
input at once) or "wrapper" (goes around another model).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from mnemic import recipes
from mnemic.recurrent.engine.layer import Layer
from mnemic.recurrent.engine.state import State
from mnemic.types import MnemicError

if TYPE_CHECKING:
    from mnemic.recurrent.engine.segments import Segmented
    from mnemic.recurrent.model import RecurrentLM

__all__ = ["SIZES", "Layer", "State", "build", "language_model", "names", "wrap"]

Kind = Literal["causal", "encoder", "wrapper"]

SIZES = {"1M": (128, 5), "6M": (256, 8), "25M": (512, 8)}
"""Width and depth of models of about this many parameters, embeddings left out."""


def names(kind: Kind = "causal") -> list[str]:
    """Names of all layers of a kind.

    Raises:
        MnemicError: no such kind.
    """
    return recipes.of_kind("recurrent", kind, get_args(Kind))


def build(name: str, dim: int, **options: Any) -> Layer:
    """A layer by name, on `dim` channels.

    Args:
        options: `heads`, and what else the layer's own `layer` function takes.

    Raises:
        MnemicError: no such layer, or a wrapper.
        ValueError: sizes that do not fit.
        TypeError: an option the layer does not have.
    """
    if name in names("wrapper"):
        raise MnemicError(
            f"{name!r} is a wrapper, not a layer; put it around a model with wrap({name!r}, model)"
        )
    layer: Layer = recipes.load("recurrent", name).layer(dim, **options)
    return layer


def wrap(name: str, model: Any, **options: Any) -> Segmented:
    """A memory by name around a Hugging Face causal model.

    Raises:
        MnemicError: no such wrapper.
        ValueError: sizes that do not fit.
        TypeError: an option the wrapper does not have.
    """
    if name not in names("wrapper"):
        raise MnemicError(f"there is no wrapper {name!r}; there are: {', '.join(names('wrapper'))}")
    wrapper: Segmented = recipes.load("recurrent", name).wrapper(model, **options)
    return wrapper


def language_model(name: str, vocab: int, size: str = "6M", **options: Any) -> RecurrentLM:
    """A fresh Hugging Face causal model whose blocks hold the layer `name`.

    Raises:
        MnemicError: no such layer or size, a layer that is not causal, or transformers is not installed.
    """
    if size not in SIZES:
        raise MnemicError(f"there is no size {size!r}; there are: {', '.join(SIZES)}")
    try:
        from mnemic.recurrent.model import RecurrentConfig, RecurrentLM
    except ModuleNotFoundError as error:
        raise MnemicError(f"a language model needs {error.name}; install mnemic[hf]") from None
    dim, depth = SIZES[size]
    options = {"heads": dim // 32} | options
    return RecurrentLM(RecurrentConfig(name, vocab, dim, depth, options))
