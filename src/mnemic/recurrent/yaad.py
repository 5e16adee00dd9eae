"""Yaad: a memory that an outlier cannot shake: beyond a threshold errors count by their length, not its square.

    M_t = R + alpha_t (M_{t-1} - R) - eta_t g_t,   e = M(k_t) - v_t
    g_t = grad |e|^2 / 2  if |e| <= delta_t,   delta_t grad |e|  otherwise

delta_t is a gate of the token, R the initial weights (the paper forgets them too: see `network`); M(x) = x +
LayerNorm(W_2 gelu(W_1 x)).
Structure perceptron; attentional bias Huber; retention scalar gate; learning rule one gradient step.
Behrouz et al. 2025 (Miras), paper 63.
"""

from mnemic.recurrent.engine.bias import huber
from mnemic.recurrent.engine.network import Network
from mnemic.recurrent.engine.plastic import Plastic
from mnemic.recurrent.engine.structure import Perceptron
from mnemic.types import Claim

PAPER = 63
CLAIM = Claim(
    says="at equal state bytes a memory with a Huber bias recalls more than linear attention",
    task="recurrent",
    method="yaad",
    baseline="linear-attention",
    sabotage="yaad-emptied",
    metric="accuracy",
    budget="4,160 to 4,800 bytes of state, the same steps of training",
)


def layer(
    dim: int, heads: int = 4, *, expansion: int = 4, chunk: int = 16, max_rate: float = 0.25,
    head_dim: int | None = None, conv: int = 4,
) -> Plastic:  # fmt: skip
    """A layer; values are as long as keys.

    Args:
        expansion: width of the memory's hidden layer, in keys.
        chunk: tokens whose gradients are taken together; part of the definition.
        max_rate: the largest step eta.
    """
    network = Network(Perceptron(2, expansion, residual=True), huber, chunk=chunk)
    return Plastic(
        "yaad",
        dim,
        heads,
        network,
        max_rate=max_rate,
        thresholds=True,
        key_dim=head_dim,
        value_dim=head_dim,
        conv=conv,
    )
