from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from mnemic.read.keys import SHORT, SentenceKeys
from mnemic.types import Floats, Part


class Letters:
    """An embedder that counts letters, a part per hundred characters."""

    name, dim, fingerprint = "letters", 26, "letters-1"

    def encode(self, texts: Sequence[str]) -> Floats:
        counts = np.array([[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], np.float32)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)

    def parts(self, texts: Sequence[str]) -> list[list[Part]]:
        return [
            [
                Part(a, b, self.encode([text[a:b]])[0])
                for a, b in pairwise([*range(0, len(text), 100), len(text)])
            ]
            for text in texts
        ]


TURN = "Could you plan my week? By the way, I moved to Leeds on Friday. Thanks a lot for that."


def test_every_sentence_of_a_short_text_has_its_own_vector_beside_the_whole() -> None:
    (parts,) = SentenceKeys(Letters()).parts([TURN])
    whole, *keys = parts
    assert (whole.start, whole.end) == (0, len(TURN))
    said = [TURN[key.start : key.end].strip() for key in keys]
    assert said == [
        "Could you plan my week?",
        "By the way, I moved to Leeds on Friday.",
        "Thanks a lot for that.",
    ]
    for key in keys:
        np.testing.assert_allclose(key.vector, Letters().encode([TURN[key.start : key.end]])[0])


def test_a_fact_said_in_passing_is_nearer_to_its_sentence_than_to_the_turn() -> None:
    (query,) = Letters().encode(["I moved to Leeds on Friday"])
    (parts,) = SentenceKeys(Letters()).parts([TURN])
    similar = [float(part.vector @ query) for part in parts]
    assert int(np.argmax(similar)) == 2


def test_long_texts_single_sentences_and_scraps_keep_the_parts_they_have() -> None:
    texts = ["One sentence alone is its own key.", "Yes. No. Ok.", "It rains again here. " * SHORT, ""]
    with_keys, without = SentenceKeys(Letters()).parts(texts), Letters().parts(texts)
    assert [[(p.start, p.end) for p in parts] for parts in with_keys] == [
        [(p.start, p.end) for p in parts] for parts in without
    ]


def test_another_way_of_keying_is_another_fingerprint() -> None:
    assert SentenceKeys(Letters()).fingerprint != Letters.fingerprint
    np.testing.assert_array_equal(SentenceKeys(Letters()).encode([TURN]), Letters().encode([TURN]))
