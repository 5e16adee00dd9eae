from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from mnemic.read.keys import SHORT, SecondKey
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


def test_the_second_key_is_the_sentence_least_like_the_whole() -> None:
    (parts,) = SecondKey(Letters()).parts([TURN])
    whole, second = parts
    assert (whole.start, whole.end) == (0, len(TURN))
    sentences = [
        "Could you plan my week? ",
        "By the way, I moved to Leeds on Friday. ",
        "Thanks a lot for that.",
    ]
    similar = [float(Letters().encode([said])[0] @ whole.vector) for said in sentences]
    assert TURN[second.start : second.end] == sentences[int(np.argmin(similar))]
    np.testing.assert_allclose(second.vector, Letters().encode([TURN[second.start : second.end]])[0])


def test_every_text_of_a_batch_gets_its_own_second_key() -> None:
    texts = [TURN, "One sentence only.", "It rained all day in the city. We ate soup with friends later on."]
    together = SecondKey(Letters()).parts(texts)
    for parts, text in zip(together, texts, strict=True):
        (alone,) = SecondKey(Letters()).parts([text])
        assert [(p.start, p.end) for p in parts] == [(p.start, p.end) for p in alone]
    assert [len(parts) for parts in together] == [2, 1, 2]


def test_long_texts_single_sentences_and_scraps_keep_the_parts_they_have() -> None:
    texts = ["One sentence alone is its own key.", "Yes. No. Ok.", "It rains again here. " * SHORT, ""]
    keyed, plain = SecondKey(Letters()).parts(texts), Letters().parts(texts)
    assert [[(p.start, p.end) for p in parts] for parts in keyed] == [
        [(p.start, p.end) for p in parts] for parts in plain
    ]


def test_another_way_of_keying_is_another_fingerprint() -> None:
    assert SecondKey(Letters()).fingerprint != Letters.fingerprint
    np.testing.assert_array_equal(SecondKey(Letters()).encode([TURN]), Letters().encode([TURN]))
