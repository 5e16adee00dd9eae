"""Titans: a neural memory that learns at test time what surprises it, and forgets on purpose.

    S_t = eta_t S_{t-1} - theta_t grad l(M; x_t),   l = |M(k_t) - v_t|^2 / 2      momentum: past surprise
    M_t = R + (1 - alpha_t) (M_{t-1} - R) + S_t                                   forgetting
    y_t = M_t(q_t)

M is a perceptron with `depth` linear maps whose initial weights R are learnt; alpha, eta, theta are gates of
the token. What was learnt is forgotten, not R (`network` says why); the paper shrinks both. Gradients are taken
at the weights of the chunk's start; a chunk of 1 is the online rule.
Structure perceptron; attentional bias squared error; retention scalar gate; learning rule momentum.
Behrouz et al. 2024, paper 35 (the memory as a layer of its own, LMM).
"""

from mnemic.recurrent.engine.bias import squared
from mnemic.recurrent.engine.network import Network
from mnemic.recurrent.engine.plastic import Plastic
from mnemic.recurrent.engine.structure import Perceptron
from mnemic.types import Claim

PAPER = 35
CLAIM = Claim(
    says="at equal state bytes a memory learnt while reading recalls more than a sliding window",
    task="recurrent",
    method="titans",
    baseline="sliding-window",
    sabotage="titans-emptied",
    metric="accuracy",
    budget="4,160 to 4,800 bytes of state, the same steps of training",
)


def layer(
    dim: int, heads: int = 4, *, depth: int = 2, expansion: int = 4, chunk: int = 16, max_rate: float = 0.4,
    key_dim: int | None = None, value_dim: int | None = None, conv: int = 4,
) -> Plastic:  # fmt: skip
    """A layer.

    Args:
        depth: linear maps of the memory; expansion: width of its hidden layers, in keys.
        chunk: tokens whose gradients are taken together; part of the definition.
        max_rate: the largest share of an error that a step mends at first, theta in units of the memory's
            gain; many steps are taken at one place, so below 1.
    """
    network = Network(Perceptron(depth, expansion), squared, chunk=chunk, momentum=True)
    return Plastic(
        "titans", dim, heads, network, max_rate=max_rate, key_dim=key_dim, value_dim=value_dim, conv=conv
    )
