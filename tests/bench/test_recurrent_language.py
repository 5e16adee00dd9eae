from pathlib import Path

import numpy as np
import pytest
import torch

from mnemic.bench import runner
from mnemic.bench.tasks import recurrent_language as language
from mnemic.recurrent import names
from mnemic.types import MnemicError

TINY = language.Preset(steps=2, length=8, batch=2, dim=16, depth=1, characters=2000, longest=4, tests=3)


def test_characters_keep_their_places_and_strangers_share_one() -> None:
    codes = language.encoded("a~\nb €é\t")
    letters = [language.ALPHABET[code] if code < language.OTHER else "?" for code in codes]
    assert "".join(letters) == "a~\nb ???"


@pytest.mark.parametrize("preset", language.PRESETS.values(), ids=list(language.PRESETS))
def test_models_are_equally_large_whatever_their_layer(preset: language.Preset) -> None:
    sizes = [language.parameters(language.sized(layer, preset, seed=0)) for layer in names()]
    assert max(sizes) < 1.02 * min(sizes)


@torch.no_grad()
def test_bits_are_those_of_a_character_by_character_reading_at_every_stretch() -> None:
    model = language.sized("delta-rule", TINY, seed=0)
    windows = np.random.default_rng(0).integers(language.OTHER, size=(3, 33))
    found = language.bits(model, windows, TINY)
    assert list(found) == ["bits", "bits_2x", "bits_4x"]
    log = model(torch.from_numpy(windows[:, :-1]))[0].log_softmax(-1).numpy() / np.log(2)
    for metric, start, end in (("bits", 0, 8), ("bits_2x", 8, 16), ("bits_4x", 16, 32)):
        expected = [-np.mean([log[i, t, windows[i, t + 1]] for t in range(start, end)]) for i in range(3)]
        np.testing.assert_allclose(found[metric], expected, rtol=1e-4)


def test_unseen_tales_and_the_ends_of_books_are_not_trained_on(tmp_path: Path) -> None:
    trained, unseen = language.tales(3000, 0), language.tales(3000, language.TEST_SEED)
    assert min(len(trained), len(unseen)) >= 3000
    assert bytes(unseen[:60].astype(np.uint8)) not in bytes(trained.astype(np.uint8))
    (tmp_path / "one.txt").write_text("a" * 80 + "b" * 20)
    (tmp_path / "two.txt").write_text("c" * 8 + "d" * 2)
    read, rest = ("".join(language.ALPHABET[i] for i in part) for part in language.books(str(tmp_path)))
    assert (read, rest) == ("a" * 80 + "c" * 8, "b" * 20 + "d" * 2)


@pytest.mark.parametrize("text", ["generated", "books"])
def test_every_layer_reads_the_same_windows(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(language.PRESETS, "tiny", TINY)
    (tmp_path / "one.txt").write_text("It was a dark and stormy night. " * 20)
    extra = {"task": text, "preset": "tiny", "layers": "delta-rule,attention", "books": str(tmp_path)}
    outcome = language.run(None, runner.Options(extra=extra, quiet=True, cache=tmp_path / "kept"))
    ours, theirs = outcome.systems["delta-rule"], outcome.systems["attention"]
    assert [row["id"] for row in ours] == [row["id"] for row in theirs]
    assert len(ours) == 3
    assert ours[0]["characters_per_second"] > 0
    line = outcome.extra["curves"]["bits against position"]["lines"]["delta-rule"]
    assert [point[0] for point in line] == [8, 16, 32]
    assert line[0][1] == pytest.approx(np.mean([row["bits"] for row in ours]))


def test_no_books_and_unknown_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MnemicError, match="no books in"):
        language.books(str(tmp_path))
    with pytest.raises(MnemicError, match="no text 'poems'; there are: generated, books"):
        language.run(None, runner.Options(extra={"task": "poems"}))
