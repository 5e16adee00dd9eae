"""A Llama whose weights are written down, not learned: it looks up what followed a token before.

Two layers make an induction circuit. With unit vectors c_t for the tokens, and the residual stream split into
[constant | content | what stood before | output]:

    layer 0    every query asks for distance 1 (a constant q, and k = R_1 q), so that the stream learns c of
               the token before
    layer 1    query c_t against the tokens before: softmax_j(beta <R_{i-j} c_t, before_j>); what is found is
               copied to the output, where the head compares it with every c

Content is matched in the slow half of the rotary pairs, which turn little within `WINDOW` tokens and much
beyond: it recalls exactly inside its window and fails far outside. One key-value head of each layer works,
the others are silent. It speaks `mnemic.worlds.tokens` (needle, recall, copy, not order or threads) and is
the exact oracle for eviction: without the slot of a queried value that answer breaks, and no other.
"""

from __future__ import annotations

from typing import Any

from mnemic.worlds import tokens

WINDOW = 512
CONTENT = 32  # channels of a token's vector
HEAD = 2 * CONTENT  # channels of a head: a fast and a slow half
BASE = 1e5
NEAR = 16.0  # how much distance 1 is preferred in layer 0, in logits
BETA = 60.0  # how much the same token is preferred in layer 1, in logits
GAMMA = 60.0  # how much the found token is preferred in the output, in logits


def lookup(seed: int = 0) -> Any:
    """The model: a LlamaForCausalLM of 2 layers, 4 heads of 64 over 2 key-value heads; vectors from `seed`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    width = 4 * CONTENT
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokens.VOCABULARY, hidden_size=width, intermediate_size=8, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=HEAD, max_position_embeddings=WINDOW,
            rope_parameters={"rope_type": "default", "rope_theta": BASE}, tie_word_embeddings=False,
            bos_token_id=tokens.START, eos_token_id=None, pad_token_id=None,
        )
    ).eval()  # fmt: skip
    content, before, output = (slice(i * CONTENT, (i + 1) * CONTENT) for i in (1, 2, 3))
    code = torch.randn(tokens.VOCABULARY, CONTENT, generator=torch.Generator().manual_seed(seed))
    code = code / code.norm(dim=1, keepdim=True)
    eye = torch.eye(CONTENT)
    frequency = BASE ** (-torch.arange(CONTENT) / CONTENT)
    slow = torch.cat((torch.arange(CONTENT // 2, CONTENT), torch.arange(CONTENT + CONTENT // 2, HEAD)))
    scale = HEAD**0.5  # undoes the 1/sqrt(d) of attention
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for module in model.modules():
            if module.__class__.__name__ == "LlamaRMSNorm":
                module.weight.fill_(1.0)
        embedding = model.model.embed_tokens.weight
        embedding[:, 0] = 1.0
        embedding[:, content] = code
        first, second = (layer.self_attn for layer in model.model.layers)
        # the norm divides by the root of mean squares: of [1, c] in layer 0, of [1, c, before] in layer 1
        gain, later = (width / 2) ** 0.5, (width / 3) ** 0.5
        strength = NEAR / (1 - frequency.cos()).sum()
        first.q_proj.weight[:CONTENT, 0] = 1 / gain
        first.k_proj.weight[:CONTENT, 0] = frequency.cos() * strength * scale / gain
        first.k_proj.weight[CONTENT:HEAD, 0] = frequency.sin() * strength * scale / gain
        first.v_proj.weight[:CONTENT, content] = eye / gain
        first.o_proj.weight[before, :CONTENT] = eye
        second.q_proj.weight[slow, content] = eye * BETA * scale / later
        second.k_proj.weight[slow, before] = eye / later
        second.v_proj.weight[:CONTENT, content] = eye / later
        second.o_proj.weight[output, :CONTENT] = eye
        model.lm_head.weight[:, output] = code * GAMMA / (width / 4) ** 0.5
    return model
