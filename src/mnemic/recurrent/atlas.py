"""ATLAS: a memory that fits a window of tokens at once, over polynomial features, with orthogonal steps.

    G_t = sum_{i = t-c+1..t} gamma_i grad |M(phi(k_i)) - v_i|^2 / 2       the omega rule; c = 1 is Titans' rule
    S_t = eta_t S_{t-1} - theta_t G_t                                     momentum
    M <- R + keep (M - R) + muon(S)                                       Muon, at the end of every chunk

phi are the Taylor features of a key (degrees 0 to 2). `muon` makes the singular values of S equal and keeps its
Frobenius norm, so that theta stays a step size. M is read as it was at the last border; R are its initial
weights.
Structure perceptron over polynomial features; attentional bias squared error over a window; retention scalar
gate; learning rule Muon. Behrouz et al. 2025, paper 76.
"""

from mnemic.recurrent.based import taylor
from mnemic.recurrent.engine.bias import squared
from mnemic.recurrent.engine.border import orthogonal_step
from mnemic.recurrent.engine.network import Network
from mnemic.recurrent.engine.plastic import Plastic
from mnemic.recurrent.engine.structure import Perceptron
from mnemic.types import Claim

PAPER = 76
CLAIM = Claim(
    says="at equal state bytes fitting a window of tokens recalls more than the online rule on the last one",
    task="recurrent",
    method="atlas",
    baseline="atlas-online",
    sabotage="atlas-emptied",
    metric="accuracy",
    budget="4,160 to 4,800 bytes of state, the same steps of training",
)


def layer(
    dim: int, heads: int = 4, *, depth: int = 1, expansion: int = 1, chunk: int = 8, window: int = 8,
    max_rate: float = 0.25, key_dim: int = 8, value_dim: int | None = None, conv: int = 4,
) -> Plastic:  # fmt: skip
    """A layer.

    Args:
        depth: linear maps of the memory; expansion: width of its hidden layers, in features.
        chunk: tokens whose gradients are taken together; part of the definition.
        window: tokens whose loss a step lowers.
        max_rate: the largest step theta.
    """
    network = Network(
        Perceptron(depth, expansion), squared,
        chunk=chunk, window=window, momentum=True, border=orthogonal_step, stepwise=False,
    )  # fmt: skip
    return Plastic(
        "atlas", dim, heads, network, max_rate=max_rate, features=taylor,
        key_dim=key_dim, value_dim=value_dim, conv=conv,
    )  # fmt: skip
