"""How much each record speaks to a question: words and vectors on one scale, then its session's share.

A channel is put on the scale of its own background, so that it says by itself how informative it is for this
question. Over the n records that may be found,

    words     w_i = bm25_i / spread(bm25)              a rare word that matches stands far out of its background
    vectors   v_i = (cos_i - mean(cos)) / spread(cos)  a flat field of cosines stays near 0, whatever its level
    evidence  e_i = w_i + DENSE (1 - COVERED c) v_i

where c is the share of the question's terms that stand in the best record by words: words that cover the
question are the better witness, and where they do not, meaning is.
`mean` and `spread` (standard deviation) count `PRIOR` imagined records beside the n, with the mean 0 and the
usual spread of their channel, so that a memory of one record has a background too.

A record is also spoken for by its conversation, whose turns j = 0, 1, ... are taken best first, each further
one counting half as much; the turns of one session keep their own order.

    score_i = e_i + SESSION * sum over j of max(e_j, 0) / 2^j
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemic.types import Floats, Mask

DENSE, COVERED = 1.75, 0.7
SESSION = 0.25
PRIOR = 4
WORDS_SPREAD, VECTORS_SPREAD = 1.0, 0.1


def fuse(words: Floats, vectors: Floats | None, among: Mask, covered: float = 0.0) -> Floats:
    """The evidence of both channels, [n]; 0 outside `among`.

    Args:
        words: [n] BM25, 0 where no word matches.
        vectors: [n] cosines, -1 where a record has no vector; None without vectors.
        among: [n] the records that may be found; only they are the background.
        covered: c, 0 to 1.
    """
    evidence: Floats = np.zeros(len(words), np.float32)
    evidence[among] = words[among] / _background(words[among], WORDS_SPREAD)[1]
    if vectors is not None:
        known = among & (vectors > -1)
        mean, spread = _background(vectors[known], VECTORS_SPREAD)
        evidence[known] += np.float32(DENSE * (1 - COVERED * covered)) * (vectors[known] - mean) / spread
    return evidence


def _background(scores: Floats, usual: float) -> tuple[np.float32, np.float32]:
    """Mean and spread; the imagined records have mean 0, and around the mean found the usual spread."""
    n = len(scores) + PRIOR
    around = scores - scores.mean() if len(scores) else scores
    spread = np.sqrt((np.square(around).sum() + PRIOR * usual**2) / n)
    return np.float32(scores.sum() / n), np.float32(spread)


def with_sessions(evidence: Floats, sessions: NDArray[np.signedinteger], among: Mask) -> Floats:
    """The evidence with that of the whole session added, [n].

    Args:
        sessions: [n] a number per session, -1 where a record belongs to none: it is a session of one.
    """
    speaking = among & (evidence > 0)
    spoken: Floats = np.where(speaking & (sessions < 0), evidence, np.float32(0))
    rows = np.flatnonzero(speaking & (sessions >= 0))
    if not len(rows):
        return (evidence + np.float32(SESSION) * spoken).astype(np.float32)
    bits = evidence[rows].astype(np.float32, copy=False).view(np.int32)  # ordered as the positive numbers are
    keys = np.sort(sessions[rows].astype(np.int64) << 32 | bits)[::-1]  # by session, best turn first
    of, best = keys >> 32, keys.astype(np.int32).view(np.float32)
    starts = np.flatnonzero(np.diff(of, prepend=-1))
    rank = np.arange(len(best)) - np.repeat(starts, np.diff(starts, append=len(best)))
    share = np.bincount(of, np.ldexp(best, -rank.astype(np.int32)), minlength=int(sessions.max()) + 2)
    spoken += share.astype(np.float32)[sessions]  # the last share, that of no session (-1), is 0
    spoken[~among] = 0
    return (evidence + np.float32(SESSION) * spoken).astype(np.float32)
