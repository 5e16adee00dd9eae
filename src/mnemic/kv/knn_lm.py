"""Mixes what followed the nearest hidden states of a text read before into what the model predicts.

    p(y) = lambda · p_knn(y) + (1 - lambda) · p_model(y)
    p_knn(y) = sum over the k nearest pairs (k_i, v_i) with v_i = y of e^(-|c - k_i|²/T) / the sum over all k

c is the state the next token is predicted from, a pair (k_i, v_i) such a state of a text and the token that
followed. A state is searched exactly: |c - k|² is least where c·k - |k|²/2 is largest.

    store = Datastore(budget="256MiB"); store.read(model, ids)
    attached = store.attach(model)            # model(...) and model.generate(...) are mixed until
    attached.remove()

(Paper 221, a study, which finds that this makes most tokens less likely and few much more likely, and texts
written with it no better.)

Departs from the paper: c is what the head reads, not what the last feed-forward layer does; what the budget
does not hold is not taken; the logits given back are log p, after whatever the model does to its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnemic.index.flat import FlatIndex
from mnemic.kv.files import fingerprint
from mnemic.kv.policy import parse_bytes
from mnemic.types import Claim, MnemicError

PAPER = 221
KIND = "datastore"
CLAIM = Claim(
    says="neighbours in a text read before make the facts it told far less surprising",
    task="kv_beside",
    method="knn-lm",
    baseline="the model alone",
    sabotage="knn-lm, scrambled",
    metric="facts",
    better="less",
    margin=5.0,
    budget="the same model; the datastore beside it is extra bytes",
)
_SCORES = 1 << 24  # scores at a time: bounds what a search needs


@dataclass(kw_only=True)
class Datastore:
    """States of texts, and the tokens that followed.

    Attributes:
        budget: bytes of states and tokens: an int or "256MiB"; None for no limit.
        k, share, temperature: neighbours, lambda and T.
        model: fingerprint of the model whose states these are; None while empty.
    """

    budget: int | str | None = None
    k: int = 1024
    share: float = 0.25
    temperature: float = 1.0
    model: str | None = None
    index: FlatIndex = field(default_factory=FlatIndex)

    def __post_init__(self) -> None:
        if not (0 < self.share < 1 and self.temperature > 0 and self.k > 0):
            raise ValueError(
                f"share = {self.share}, temperature = {self.temperature}, k = {self.k}: the share lies between "
                "0 and 1, the others above 0"
            )

    @property
    def nbytes(self) -> int:
        return self.index.nbytes

    @torch.no_grad()
    def read(self, model: Any, ids: Tensor, *, window: int = 512) -> int:
        """Take the states of a text [n] in, read in windows that overlap by half; how many pairs were taken.

        Raises:
            MnemicError: the states kept are another model's.
        """
        self._own(model)
        taken = 0
        for start in range(0, max(1, len(ids) - 1), half := max(1, window // 2)):
            piece = ids[start : start + window]
            first = 0 if start == 0 else half - 1  # those before were taken with more before them
            if len(piece) < first + 2:
                break
            out = model.base_model(input_ids=piece[None], use_cache=False).last_hidden_state[0].float().cpu()
            states, tokens = out[first:-1], piece[first + 1 :].cpu().numpy()
            if self.budget is not None:
                each = 4 * (states.shape[1] + 1) + self.index.ids.itemsize
                room = (parse_bytes(self.budget) - self.nbytes) // each
                states, tokens = states[:room], tokens[:room]
            if len(tokens):
                self.index.add(torch.cat((states, -states.square().sum(1, keepdim=True) / 2), 1), tokens)
            taken += len(tokens)
        return taken

    def probabilities(self, states: Tensor, vocabulary: int) -> Tensor:
        """p_knn after states [n, d]: [n, vocabulary].

        Raises:
            MnemicError: nothing was read.
        """
        if not len(self.index):
            raise MnemicError("the datastore is empty; read a text into it first, in a budget that holds it")
        asked = torch.cat((states, states.new_ones(len(states), 1)), 1).float().cpu()
        found = torch.zeros(len(asked), vocabulary)
        step = max(1, _SCORES // len(self.index))
        for start in range(0, len(asked), step):
            scores, tokens = self.index.search(asked[start : start + step], self.k)
            weights = (2 * scores / self.temperature).softmax(-1)
            found[start : start + step].scatter_add_(1, tokens, weights)
        return found.to(states.device)

    def mix(self, logits: Tensor, states: Tensor) -> Tensor:
        """log p [..., vocabulary] of the model's logits and the states [..., d] they were made from."""
        own = logits.float().log_softmax(-1) + math.log(1 - self.share)
        near = self.probabilities(states.flatten(0, -2), logits.shape[-1]).view_as(own)
        return torch.logaddexp(own, near.log() + math.log(self.share)).to(logits.dtype)

    def attach(self, model: Any) -> Attached:
        """Mix into everything the model predicts, until `remove()`.

        Raises:
            MnemicError: the states kept are another model's.
        """
        self._own(model)
        seen: list[Tensor] = []

        def note(module: Any, args: tuple[Any, ...]) -> None:
            seen[:] = [args[0]]

        def mixed(module: Any, args: Any, output: Any) -> Any:
            output.logits = self.mix(output.logits, seen.pop())
            return output

        head = model.get_output_embeddings()
        return Attached((head.register_forward_pre_hook(note), model.register_forward_hook(mixed)))

    def save(self, path: str | Path) -> None:
        """Write it to one safetensors file.

        Raises:
            MnemicError: it is empty.
        """
        from safetensors.torch import save_file

        if not len(self.index):
            raise MnemicError("there is nothing to save: read a text into the datastore first")
        settings = {name: str(getattr(self, name)) for name in ("k", "share", "temperature", "model")}
        save_file(
            {"keys": self.index.keys.contiguous(), "tokens": torch.from_numpy(self.index.ids)}, path, settings
        )

    @classmethod
    def load(cls, path: str | Path, *, budget: int | str | None = None) -> Datastore:
        """What `save` wrote.

        Raises:
            MnemicError: it cannot be read as that.
        """
        from safetensors import safe_open

        try:
            with safe_open(path, framework="pt") as file:
                kept = file.metadata()
                store = cls(
                    budget=budget, k=int(kept["k"]), share=float(kept["share"]),
                    temperature=float(kept["temperature"]), model=kept["model"],
                )  # fmt: skip
                store.index.add(file.get_tensor("keys"), file.get_tensor("tokens").numpy())
        except Exception as error:
            raise MnemicError(f"{path} cannot be read as a datastore: {error}") from error
        return store

    def _own(self, model: Any) -> None:
        given = fingerprint(model)
        if self.model not in (None, given):
            raise MnemicError(
                f"the datastore holds states of another model than this {type(model).__name__}; "
                "read the text again with this one"
            )
        self.model = given


@dataclass(frozen=True)
class Attached:
    """The two hooks on a model that is mixed into."""

    hooks: tuple[Any, ...]

    def remove(self) -> None:
        """The model predicts by itself again."""
        for hook in self.hooks:
            hook.remove()
