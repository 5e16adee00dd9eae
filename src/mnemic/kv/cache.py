"""The cache that a transformers model meets: its layers own the pairs, and one attention function reads them.

`update` hands the new keys and values on, marked with the layer they belong to; the attention function, called
next with the query at hand, keeps them and attends. Nothing of transformers is changed: the function and its
mask are registered under the name "mnemic" when a model is attached, and a model attached but run with another
cache gets plain scaled-dot-product attention.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from mnemic.kv.observe import Observed, Trail
from mnemic.kv.policy import Layer, Policy, Store
from mnemic.kv.slots import PAD
from mnemic.types import MnemicError

ATTENTION = "mnemic"
_UNKNOWN = ("softcap", "s_aux", "position_bias")  # what some models add to attention, and stores do not


class MemoryLayer(CacheLayerMixin):  # type: ignore[misc]
    """The memory of one attention layer; its store is made when the first keys show their shape."""

    is_sliding = False  # sliding windows are masked by the store, from columns

    def __init__(self, owner: MemoryCache, index: int, window: int | None, kind: str) -> None:
        super().__init__()
        self.owner = owner
        self.index = index
        self.window = window
        self.kind = kind
        self.seen = 0
        self.store: Store | None = None
        self.shape: Layer | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Mark the new keys as belonging here; the attention function keeps them."""
        self.owner.check(self)
        self.is_initialized = True
        key_states = key_states.view_as(key_states)
        key_states.memory = self  # type: ignore[attr-defined]
        return key_states, value_states

    def attend(
        self, module: Any, query: Tensor, keys: Tensor, values: Tensor, padding: Tensor | None, scale: float,
        positions: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """Keep the new pairs and attend over what is kept, piece by piece up to each block's end."""
        if module not in self.owner.modules:
            raise MnemicError("this cache belongs to another model; attach makes one for each model")
        if not torch.isfinite(keys).all():
            raise MnemicError(
                f"layer {self.index} made keys that are not finite (NaN or infinite); "
                "check the model's weights and number format, and start a new cache"
            )
        rows, count = keys.shape[0], keys.shape[2]
        if self.store is None:
            self.store = self.owner.make_store(
                self, rows=rows, heads=query.shape[1], groups=keys.shape[1], width=keys.shape[3],
                value_width=values.shape[3], dtype=keys.dtype, scale=scale,
            )  # fmt: skip
        self.store.reading = self.owner.reading
        columns = torch.arange(self.seen, self.seen + count, dtype=torch.int32, device=keys.device)
        columns = columns.expand(rows, -1)
        if padding is not None:
            columns = columns.masked_fill(~padding, PAD)
        if self.store.rotary is not None:
            at = columns if positions is None else positions.expand(rows, -1)
            keys = self.store.rotary.lift(keys, at[:, None])
            query = self.store.rotary.lift(query, at[:, None])
        out = []
        start = 0
        block = self.store.block
        stride = self.store.stride if self.owner.reading and self.owner.pads is None else block
        while start < count:
            left = (self.seen + start) % block
            stop = start + min(stride, left + count - start) // block * block - left  # the last end of a block
            stop = stop if stop > start else count
            piece = slice(start, stop)
            out.append(
                self.store.step(query[:, :, piece], keys[:, :, piece], values[:, :, piece], columns[:, piece])
            )
            if (self.seen + stop) % block == 0 and not self.owner.policy.blockwise:
                self.store.settle(self.seen + stop)
            start = stop
        self.seen += count
        return torch.cat(out, 2).transpose(1, 2)

    @property
    def nbytes(self) -> dict[str, int]:
        """Bytes owned, by tensor."""
        tensors = {} if self.store is None else self.store.tensors()
        return {name: tensor.untyped_storage().nbytes() for name, tensor in tensors.items()}

    def get_seq_length(self) -> int:
        return self.seen

    def get_max_length(self) -> int:
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(0, 0): no mask is wanted, only the padding (see `_mask`)."""
        return 0, 0

    def reset(self) -> None:
        self.seen, self.store, self.is_initialized = 0, None, False

    def crop(self, tokens_to_remove: int) -> None:
        if tokens_to_remove > 0 or self.seen + tokens_to_remove < 0:
            raise ValueError(
                f"crop takes minus the number of tokens to forget, at most {self.seen}, not {tokens_to_remove}"
            )
        if tokens_to_remove and self.store is not None:
            self.store.crop(-tokens_to_remove, self.seen)
            self.seen += tokens_to_remove


class MemoryCache(Cache):  # type: ignore[misc]
    """A cache with a budget; made by `mnemic.kv.attach`.

    Attributes:
        policy: the method.
        budget: bytes it may own, over all layers; None for no limit.
        pads: [b], how many of the tokens read were padding; None if no mask was ever given.
        reading: a text is only being read, nothing is asked: methods that recall may leave it out.
        trail: the hidden states that the next tokens are predicted from, where the method observes.
        before: hidden states of the pieces of a pass that was split (see `mnemic.kv.observe`).
    """

    def __init__(
        self, model: Any, policy: Policy, budget: int | None, layers: Iterable[tuple[int | None, str]]
    ) -> None:
        self.model = model
        self.policy = policy
        self.budget = budget
        self.pads: Tensor | None = None
        self.reading = False
        self.trail = Trail()
        self.before: list[Tensor] = []
        self.modules = {module for module in model.modules() if hasattr(module, "layer_idx")}
        owner: Any = weakref.proxy(self)  # no cycle: what a cache holds is freed as soon as it is let go of
        super().__init__([MemoryLayer(owner, i, window, kind) for i, (window, kind) in enumerate(layers)])

    def check(self, layer: MemoryLayer) -> None:
        """Whether that layer may be written now.

        Raises:
            MnemicError: the model is not attached, or an earlier pass broke off between two layers.
        """
        if (
            layer.index == 0
            and self.model.config.get_text_config(decoder=True)._attn_implementation != ATTENTION
        ):
            raise MnemicError("the model is not attached any more; mnemic.kv.attach it and use the new cache")
        if layer.index == 0 and any(other.seen != layer.seen for other in self.layers):
            raise MnemicError("an earlier pass broke off half-way; attach again and read the text anew")

    def make_store(self, layer: MemoryLayer, **shape: Any) -> Store:
        """What keeps the pairs of one layer: the policy's store for these shapes (see `Layer`)."""
        layer.shape = Layer(
            index=layer.index,
            count=len(self.layers),
            window=layer.window,
            kind=layer.kind,
            model=self.model,
            below=self.layers[layer.index - 1].store if layer.index else None,
            **shape,
        )
        own = 0 if self.pads is None else self.pads.nbytes
        share = None if self.budget is None else self.policy.allocate(layer.shape, self.budget - own)
        return self.policy.store(layer.shape, share)

    def observe(
        self, ids: Tensor, hidden: Tensor, mask: Tensor | None, positions: Tensor | None = None
    ) -> None:
        """Tell the stores what the piece was that they have just kept, and let them settle at a block's end.

        Args:
            ids: its tokens [b, q]; hidden: their last hidden states [b, q, d].
            mask: [b, seen], 0 where a token is padding; None: nowhere.
            positions: of the tokens [b or 1, q], where the model was told them.
        """
        if self.get_seq_length() % self.policy.block == 0:
            self.policy.look(self, hidden, mask, positions)
        seen = None
        if self.policy.observes:
            real = torch.ones_like(ids).bool() if mask is None else mask[:, -ids.shape[1] :].bool()
            seen = Observed(ids, real, self.trail.follow(hidden, real), self.model)
        for layer in self.layers:
            if seen is not None:
                layer.store.observe(seen)
            if layer.seen % layer.store.block == 0:
                layer.store.settle(layer.seen)
        if self.get_seq_length() % self.policy.block == 0:
            self.trail.settle()

    def crop(self, tokens_to_remove: int) -> None:
        """Forget minus that many of the last tokens.

        Raises:
            MnemicError: what was there has been let go of.
        """
        if self.policy.observes and -self.get_seq_length() <= tokens_to_remove < 0:
            self.trail.crop(-tokens_to_remove, self.get_seq_length())
        super().crop(tokens_to_remove)

    def note_padding(self, mask: Tensor, seen: int) -> None:
        """Count the padding among the tokens: mask [b, seen + new], false where there is some.

        Raises:
            MnemicError: it hides another number of the tokens read before than it did then.
        """
        hidden = (~mask[:, :seen]).sum(1)
        if not torch.equal(hidden, torch.zeros_like(hidden) if self.pads is None else self.pads):
            raise MnemicError(
                f"the attention mask hides other tokens among the {seen} already read than when they "
                "were read; what is in a cache cannot be hidden later: start a new cache without them"
            )
        self.pads = (~mask).sum(1)

    def reset(self) -> None:
        super().reset()
        self.pads, self.trail = None, Trail()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self._rows(lambda x: x.index_select(0, beam_idx.to(x.device)))

    def batch_select_indices(self, indices: Tensor) -> None:
        self._rows(lambda x: x[indices])

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row.

        Raises:
            MnemicError: that would own more than the budget.
        """
        if self.budget is not None and self.nbytes * repeats > self.budget:
            raise MnemicError(
                f"{repeats} times the rows need {self.nbytes * repeats} bytes and the budget is {self.budget}; "
                "raise the budget, or read with fewer rows"
            )
        self._rows(lambda x: x.repeat_interleave(repeats, 0))

    def _rows(self, change: Callable[[Tensor], Tensor]) -> None:
        for layer in self.layers:
            if layer.store is not None:
                layer.store.rows(change)
        if self.pads is not None:
            self.pads = change(self.pads)
        if self.trail.states is not None:
            self.trail.states = change(self.trail.states)

    @property
    def nbytes(self) -> int:
        """Bytes of the storages owned, each counted once."""
        owned = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in self._tensors()}
        return sum(owned.values())

    def _tensors(self) -> Iterable[Tensor]:
        for layer in self.layers:
            if layer.store is not None:
                yield from layer.store.tensors().values()
        if self.pads is not None:
            yield self.pads
        if self.trail.states is not None:
            yield self.trail.states

    @property
    def nbytes_offloaded(self) -> int:
        """Bytes kept on disk."""
        stores = [layer.store for layer in self.layers if layer.store is not None]
        return sum(t.numel() * t.element_size() for store in stores for t in store.offloaded().values())

    def report(self) -> list[dict[str, Any]]:
        """Per layer: tokens seen, slots kept, bytes by tensor."""
        return [
            {
                "layer": layer.index,
                "seen": layer.seen,
                "kept": 0 if layer.store is None else len(layer.store),
                "nbytes": layer.nbytes,
            }
            for layer in self.layers
        ]


def register() -> None:
    """Make the attention known to transformers under its name; doing it again changes nothing."""
    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, _mask)


def _mask(**kwargs: Any) -> Tensor | None:
    """The padding [b, seen] for our cache, which masks from columns; for any other, the mask of sdpa."""
    if kwargs["kv_length"] != 0:
        plain: Tensor | None = sdpa_mask(**kwargs)
        return plain
    if kwargs.get("use_vmap") or not kwargs.get("allow_is_causal_skip", True):
        raise MnemicError(
            "this model asks for a mask that is neither causal nor a sliding window (tokens that see each "
            "other, or packed texts), which a bounded cache does not offer; use the model's own cache"
        )
    return kwargs.get("attention_mask")


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, dropout: float = 0.0, **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    layer: MemoryLayer | None = getattr(key, "memory", None)
    if layer is None:
        plain: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return plain
    for name in _UNKNOWN:
        if kwargs.get(name) is not None:
            raise MnemicError(
                f"{type(module).__name__} uses {name} in its attention, which is not supported; use its "
                "own cache"
            )
    count, total = query.shape[2], layer.seen + query.shape[2]
    padding = None
    if attention_mask is not None:
        if attention_mask.ndim != 2 or attention_mask.shape[1] != total:
            raise MnemicError(
                f"the attention mask is {list(attention_mask.shape)} and the text so far is {total} tokens; "
                "give a mask of shape [rows, tokens] that covers the cached text too, or use mnemic.kv.generate"
            )
        if layer.index == 0:
            layer.owner.note_padding(attention_mask.bool(), layer.seen)
        padding = attention_mask.bool()[:, -count:]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = layer.attend(module, query, key, value, padding, scale, kwargs.get("position_ids"))
    return out.contiguous(), None
