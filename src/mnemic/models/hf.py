"""A local Hugging Face causal language model as a `LanguageModel` (needs the extra `hf`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mnemic.types import Message, MnemicError


class HuggingFaceModel:
    """The causal model saved in a folder, answering greedily, with its chat template if it has one.

    Raises:
        MnemicError: transformers is not installed, or no causal model loads from the folder.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError:
            raise MnemicError(f"the model {str(path)!r} needs transformers: pip install 'mnemic[hf]'") from None
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(path)
            self.model = AutoModelForCausalLM.from_pretrained(path).eval()
        except (OSError, ValueError, KeyError) as error:
            raise MnemicError(
                f"no causal language model could be loaded from {str(path)!r}: {error}"
            ) from error
        self.name = str(path)

    def generate(self, messages: Sequence[Message], *, max_tokens: int = 512) -> str:
        """The reply, of at most `max_tokens` tokens.

        Raises:
            MnemicError: the prompt and the reply do not fit the model's window.
        """
        import torch

        if self.tokenizer.chat_template:
            chat = [{"role": message.role, "content": message.content} for message in messages]
            prompt = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        else:
            prompt = "".join(f"{message.role}: {message.content}\n" for message in messages) + "assistant:"
        # a chat template writes the special tokens itself
        ids = self.tokenizer(
            prompt, add_special_tokens=not self.tokenizer.chat_template, return_tensors="pt"
        ).input_ids.to(self.model.device)
        window = getattr(self.model.config, "max_position_embeddings", None)
        if window is not None and ids.shape[1] + max_tokens > window:
            raise MnemicError(
                f"the prompt of {ids.shape[1]} tokens and a reply of {max_tokens} exceed the {window} tokens "
                f"{self.name} reads; ask for less evidence or a shorter reply"
            )
        with torch.inference_mode():
            out = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_tokens,
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id or 0,
            )
        return str(self.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)).strip()
