"""Angular codes collide as their angle says, and lie beside codes that differ in one bit."""

from __future__ import annotations

import numpy as np
import pytest

from mnemic.index.hashing import codes, hyperplanes


def test_a_code_is_the_gray_decoding_of_the_signs() -> None:
    keys = np.random.default_rng(0).standard_normal((2, 50, 6)).astype(np.float32)
    planes = hyperplanes(5, keys, seed=3)
    for head in range(2):
        for key, code in zip(keys[head], codes(keys, planes)[head].tolist(), strict=True):
            signs = "".join(str(int(float(key @ planes[:, i]) > 0)) for i in range(5))
            assert f"{code ^ code >> 1:05b}" == signs  # the Gray code of the number


def test_buckets_that_follow_each_other_differ_in_one_sign() -> None:
    corners = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1).T.astype(np.float32)
    order = np.argsort(codes(corners, np.eye(4, dtype=np.float32)))
    assert ((corners[order[1:]] != corners[order[:-1]]).sum(1) == 1).all()


@pytest.mark.parametrize("angle", [0.3, 1.2, 2.5])
def test_a_bit_agrees_as_often_as_the_angle_says(angle: float) -> None:
    pair = np.array([[1, 0], [np.cos(angle), np.sin(angle)]], np.float32)
    codes_of = np.array([codes(pair, hyperplanes(1, pair, seed)) for seed in range(4000)])
    share = (codes_of[:, 0] == codes_of[:, 1]).mean()
    assert share == pytest.approx(1 - angle / np.pi, abs=0.03)


def test_torch_and_numpy_agree() -> None:
    torch = pytest.importorskip("torch")
    keys = np.random.default_rng(1).standard_normal((3, 20, 8)).astype(np.float32)
    theirs = torch.from_numpy(keys)
    got = codes(theirs, hyperplanes(9, theirs, seed=4))
    assert got.dtype == torch.int64
    np.testing.assert_array_equal(got.numpy(), codes(keys, hyperplanes(9, keys, seed=4)))


def test_bits_that_do_not_fit_are_refused() -> None:
    for bits in (-1, 63):
        with pytest.raises(ValueError, match="0 to 62"):
            hyperplanes(bits, np.zeros((1, 2)), seed=0)


def test_no_planes_make_one_bucket() -> None:
    keys = np.random.default_rng(1).standard_normal((3, 20, 8))
    assert not codes(keys, hyperplanes(0, keys, seed=4)).any()
