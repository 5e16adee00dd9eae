"""How much each record speaks to a question: words and vectors on one scale, then its session's share.

A channel is put on the scale of its own background, so that it says by itself how informative it is for this
question. Over the n records that may be found,

    words     w_i = bm25_i / std(bm25)             a rare word that matches stands far out of its background
    vectors   v_i = (cos_i - mean(cos)) / std(cos)  a flat field of cosines stays near 0, whatever its level
    evidence  e_i = w_i + DENSE v_i

A record is also spoken for by its conversation: the positive evidence of a session's best `BEST` turns is added
to each of them, times `SESSION`; the turns of one session keep their own order.

    score_i = e_i + SESSION * sum of the BEST largest max(e_j, 0) of j in the session of i
"""

from __future__ import annotations

import numpy as np

from mnemic.types import Floats, Ints, Mask

DENSE = 2.0
SESSION, BEST = 0.5, 5


def fuse(words: Floats, vectors: Floats | None, among: Mask) -> Floats:
    """The evidence of both channels, [n]; 0 outside `among`.

    Args:
        words: [n] BM25, 0 where no word matches.
        vectors: [n] cosines, at least -1, which also stands for "has no vector"; None without vectors.
        among: [n] the records that may be found; only they are the background.
    """
    evidence = np.zeros(len(words), np.float32)
    evidence[among] = _over_spread(words[among])
    if vectors is not None:
        known = among & (vectors > -1)
        cosines = vectors[known]
        if len(cosines):
            evidence[known] += np.float32(DENSE) * _over_spread(cosines - cosines.mean())
    return evidence


def _over_spread(scores: Floats) -> Floats:
    spread = scores.std() if len(scores) else 0.0
    return scores / spread if spread > 1e-9 else np.zeros_like(scores)


def with_sessions(evidence: Floats, sessions: Ints, among: Mask) -> Floats:
    """The evidence with that of the whole session added, [n].

    Args:
        sessions: [n] a number per session, -1 where a record belongs to none (it then speaks for itself).
    """
    scores = evidence.copy()
    rows = np.flatnonzero(among & (sessions >= 0) & (evidence > 0))
    if not len(rows):
        return scores
    best = rows[np.lexsort((-evidence[rows], sessions[rows]))]  # by session, best turn first
    starts = np.flatnonzero(np.diff(sessions[best], prepend=-1))
    rank = np.arange(len(best)) - np.repeat(starts, np.diff(np.append(starts, len(best))))
    top = best[rank < BEST]
    share = np.bincount(sessions[top], evidence[top], minlength=int(sessions.max()) + 1)
    members = among & (sessions >= 0)
    scores[members] += np.float32(SESSION) * share[sessions[members]].astype(np.float32)
    return scores
