"""The reference model before training: a Llama of four layers, its first two holding a written-down circuit.

Retrieval forms from nothing too, late and at a time nobody can name. Here the circuit of `mnemic.models.lookup`
is written in, and beside it one that tells which of two keys was told first; all else is small noise, not yet
heard, and everything is trained. With w(n) = 1 / (1 + n/C), which falls with the place n of a token:

    layer 0   heads 0, 1   look one token back                                  (the lookup's, in two halves)
              head 2       attends to <s> with weight w(n): every token knows its place
              head 3       looks two tokens back: was it `first?`
    layer 1   head 0       what followed this token before (the lookup's), and its place  w_this
              head 1       the same for the token one back:                               w_before
              MLP          after `first?`: (M + S(w_this - w_before)) this + (M - S(..)) before to the output

What the circuit cannot do (threads) is learned, and what it can do is learned on.
"""

from __future__ import annotations

from math import log
from typing import Any

from mnemic.models.lookup import BASE, CONTENT, HEAD, NEAR, lookup
from mnemic.worlds import tokens

WINDOW = 512
LAYERS = 4
NOISE = 0.02
MIDDLE = 256.0  # C: where the weight of a place is one half
SHARP = 500.0  # S: how much an earlier place counts
AWAY, FASTEST = 15.0, 6  # how much what is near is avoided, in logits, by how many of the pairs
MARK = 0.2  # by which a value is told from a key
ONE, START, PLACE, THIS, BEFORE, FIRST, TWO_BACK, KIND = range(8)  # channels of the stream


def start(seed: int = 0) -> Any:
    """The model at step 0: a LlamaForCausalLM of 4 layers, 4 heads of 64 over 2 key-value heads, width 128."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    width = 4 * CONTENT
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokens.VOCABULARY, hidden_size=width, intermediate_size=width, num_hidden_layers=LAYERS,
            num_attention_heads=4, num_key_value_heads=2, head_dim=HEAD, max_position_embeddings=WINDOW,
            rope_parameters={"rope_type": "default", "rope_theta": BASE}, tie_word_embeddings=False,
            bos_token_id=tokens.START, eos_token_id=None, pad_token_id=tokens.PAD,
        )
    )  # fmt: skip
    circuit = lookup(seed)
    _tell_first(circuit)
    written = dict(circuit.named_parameters())
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            heard = name.endswith(("norm.weight", "o_proj.weight", "down_proj.weight", "head.weight"))
            if not heard:
                parameter.normal_(0, NOISE, generator=noise)
            elif "norm" not in name:
                parameter.zero_()
            if name in written and "mlp" not in name:
                known = parameter[: len(parameter) // 2] if ".1.self_attn" in name and not heard else parameter
                known.copy_(written[name][: len(known)])
        _select(model.model.layers[1].mlp)
    return model


def _tell_first(model: Any) -> None:
    """Write into the lookup model what knows the places of the two keys after `first?`."""
    import torch

    content, before, output = (slice(i * CONTENT, (i + 1) * CONTENT) for i in (1, 2, 3))
    head = [slice(i * HEAD, (i + 1) * HEAD) for i in range(4)]
    first, second = (layer.self_attn for layer in model.model.layers)
    gain, later = (2 * CONTENT) ** 0.5, (4 * CONTENT / 3) ** 0.5  # as in the lookup
    frequency = BASE ** (-torch.arange(CONTENT) / CONTENT)
    pull = NEAR / (1 - frequency[: CONTENT // 2].cos()).sum() * HEAD**0.5
    with torch.no_grad():
        # a value's vector is that of the key it names, turned: to name a key is one linear map
        embedding, head_weight = model.model.embed_tokens.weight, model.lm_head.weight
        keys = slice(tokens.KEYS, tokens.VALUES)
        values = slice(tokens.VALUES, tokens.WORDS)
        embedding[values, content] = embedding[keys, content].roll(CONTENT // 2, 1)
        embedding[values, KIND] = MARK
        head_weight[values, output] = head_weight[keys, output].roll(CONTENT // 2, 1)
        for token, channel in ((tokens.START, START), (tokens.FIRST, FIRST)):
            embedding[token, content] = 0.0  # its channel is what it says
            embedding[token, channel] = 1.0
        # layer 0: the look one back in two heads, so that it survives the loss of either
        first.q_proj.weight[head[1]] = first.q_proj.weight[head[0]]
        first.o_proj.weight[before, head[0]] /= 2
        first.o_proj.weight[before, head[1]] = first.o_proj.weight[before, head[0]]
        # head 2 by the slowest pair: <s> weighs C, any other token 1
        first.q_proj.weight[head[2].start + CONTENT - 1, ONE] = 1 / gain
        first.k_proj.weight[HEAD + CONTENT - 1, START] = log(MIDDLE) * HEAD**0.5 / gain
        first.v_proj.weight[HEAD, START] = 1 / gain
        first.o_proj.weight[PLACE, head[2].start] = 1.0
        # head 3 by the fast pairs: distance 2
        half = slice(CONTENT // 2)
        first.q_proj.weight[head[3]][half, ONE] = 1 / gain
        first.k_proj.weight[HEAD : 2 * HEAD][half, ONE] = (2 * frequency[half]).cos() * pull / gain
        first.k_proj.weight[HEAD + CONTENT : HEAD + CONTENT + CONTENT // 2, ONE] = (
            (2 * frequency[half]).sin() * pull / gain
        )
        first.v_proj.weight[HEAD + 1, FIRST] = 1 / gain
        first.o_proj.weight[TWO_BACK, head[3].start + 1] = 1.0
        # layer 1: head 1 asks for the token before, and turns from what is near (by the fast pairs)
        slow = torch.cat((torch.arange(CONTENT // 2, CONTENT), torch.arange(CONTENT + CONTENT // 2, HEAD)))
        second.q_proj.weight[HEAD + slow, before] = second.q_proj.weight[slow, content]
        second.k_proj.weight[:FASTEST, ONE] = 1 / later
        second.q_proj.weight[head[1]][:FASTEST, ONE] = -AWAY / FASTEST * HEAD**0.5 / later
        second.v_proj.weight[CONTENT, PLACE] = 1 / later
        second.o_proj.weight[THIS, CONTENT] = 1.0
        second.o_proj.weight[BEFORE, HEAD + CONTENT] = 1.0


def _select(mlp: Any) -> None:
    """Write the choice between this token and the one before into the MLP of layer 1."""
    import torch

    eye = torch.eye(CONTENT)
    for i, sign in enumerate((1.0, -1.0)):
        rows = slice(i * CONTENT, (i + 1) * CONTENT)
        mlp.gate_proj.weight[rows, :] = 0
        mlp.gate_proj.weight[rows, THIS] = sign * SHARP
        mlp.gate_proj.weight[rows, BEFORE] = -sign * SHARP
        mlp.gate_proj.weight[rows, TWO_BACK] = 2 * SHARP
        mlp.gate_proj.weight[rows, ONE] = -SHARP
        mlp.up_proj.weight[rows, :] = 0
        mlp.up_proj.weight[rows, (i + 1) * CONTENT : (i + 2) * CONTENT] = eye
        mlp.down_proj.weight[3 * CONTENT :, rows] = eye / SHARP
