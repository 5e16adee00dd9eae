"""From what was seen to a policy: how alike questions must be, and how long an answer lasts.

Whenever a question is answered although an answer of the same meaning is at hand (it was too unlike, too old,
or this was an audit), both answers can be compared: that is a sample (likeness s, age a, whether they agree). A
policy (threshold t, lifetime l) would have served the samples with s >= t and a <= l. Of all policies

    (t, l) = argmax  served(t, l)   subject to   (wrong(t, l) + 1/2) / (served(t, l) + 1) <= target

which is the mean of a Beta(1/2, 1/2) prior after the samples: with few of them nothing is allowed that they do
not carry. Samples hold numbers only, so nothing that was forgotten is in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

LEAST = 40  # samples before a policy is fitted at all
GRID = 24  # thresholds and lifetimes tried


@dataclass(frozen=True, slots=True)
class Policy:
    """How answers to one category of question are reused.

    Attributes:
        threshold: cosine of two questions of equal meaning from which one's answer serves the other.
        lifetime: seconds after which an answer is not served any more.
        quota: share of the cache that the category may fill.
        give: by how much a full load lowers the threshold; it lengthens the lifetime by `stretch` of itself.
    """

    threshold: float
    lifetime: float
    quota: float
    give: float = 0.0
    stretch: float = 0.0

    def under(self, load: float) -> Policy:
        """The policy at a load between 0 (idle) and 1 (full); looser the fuller."""
        load = min(max(load, 0.0), 1.0)
        return replace(
            self,
            threshold=self.threshold - self.give * load,
            lifetime=self.lifetime * (1 + self.stretch * load),
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """Two questions of the same meaning: their likeness, seconds between them, whether their answers agree."""

    alike: float
    age: float
    agree: bool


def fitted(policy: Policy, samples: Sequence[Sample], target: float) -> Policy:
    """The policy that serves most of the samples with at most `target` of them wrong; as it is if they are few.

    Where no threshold keeps to the target, only the same words are served: a threshold no pair reaches.
    """
    if len(samples) < LEAST:
        return policy
    alike = np.array([it.alike for it in samples])
    ages = np.array([it.age for it in samples])
    wrong = ~np.array([it.agree for it in samples])
    thresholds = np.unique(np.quantile(alike, np.linspace(0, 1, GRID)))
    lifetimes = np.unique(np.quantile(ages, np.linspace(0, 1, GRID)))
    served = (alike[:, None, None] >= thresholds[:, None]) & (ages[:, None, None] <= lifetimes)
    count = served.sum(0)  # [thresholds, lifetimes]
    share = ((served & wrong[:, None, None]).sum(0) + 0.5) / (count + 1)
    count = np.where(share <= target, count, 0)
    if not count.any():
        return replace(policy, threshold=1.01, lifetime=min(policy.lifetime, float(lifetimes[0])))
    # of equally good ones the strictest; where even the loosest seen is good, nothing speaks against the policy
    t, last = np.argwhere(count == count.max())[-1][0], np.argwhere(count == count.max())[0][1]
    threshold, lifetime = float(thresholds[t]), float(lifetimes[last])
    return replace(
        policy,
        threshold=min(threshold, policy.threshold) if threshold == thresholds[0] else threshold,
        lifetime=max(lifetime, policy.lifetime) if lifetime == lifetimes[-1] else lifetime,
    )
