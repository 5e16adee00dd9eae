"""The reference model's tokenizer: the words of `mnemic.worlds.tokens`, written with spaces between them."""

from __future__ import annotations

from typing import Any

from mnemic.worlds import tokens


def tokenizer() -> Any:
    """A transformers tokenizer: "k17 V5" is two tokens; a word that is none of the language is an error."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.WordLevel({tokens.word(token): token for token in range(tokens.VOCABULARY)}))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token=tokens.word(tokens.START), pad_token=tokens.word(tokens.PAD)
    )
