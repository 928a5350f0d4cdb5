"""What each damage does, and that the classical methods undo some of it."""

import numpy as np
import pandas as pd
import pytest

from deconvlib import data
from deconvlib.experiments import quality, restoration
from deconvlib.experiments.restoration import DAMAGES


@pytest.fixture(scope="module")
def images():
    return data.shapes(20, 10).x_train / np.float32(255)


@pytest.mark.parametrize("name", DAMAGES)
def test_every_method_undoes_some_of_its_damage(name, images):
    damage = DAMAGES[name]
    damaged = damage(images[:8], np.random.default_rng(1))
    assert damaged.dtype == np.float32 and damaged.min() >= 0 and damaged.max() <= 1
    np.testing.assert_allclose(damaged * 255, np.round(damaged * 255), atol=1e-4)
    before = quality.of_images(damage.enlarged(damaged), images[:8])["PSNR"].mean()
    for method in damage.methods:
        restored = damage.tuned(method, images[8:16])(damaged)
        assert restored.shape == images[:8].shape and restored.dtype == np.float32
        assert quality.of_images(restored, images[:8])["PSNR"].mean() > before, method


@pytest.mark.parametrize("name", [name for name in DAMAGES if name != "half size"])
def test_a_stronger_damage_is_worse(name, images):
    damage = DAMAGES[name]
    scores = [
        quality.of_images(damage(images, np.random.default_rng(1), strength), images)["PSNR"].mean()
        for strength in damage.strengths
    ]
    assert scores == sorted(scores, reverse=True)
    assert damage.strengths[2] == damage.strength


def test_damage_repeats_from_its_seed(images):
    for damage in DAMAGES.values():
        one, same, other = (damage(images, np.random.default_rng(seed)) for seed in (0, 0, 1))
        np.testing.assert_array_equal(one, same)
        assert damage.methods.keys() & {"total variation", "bicubic"} or (one != other).any()


def test_noise_has_the_deviation_that_is_said():
    grey = np.full((4, 32, 32, 3), 0.5, np.float32)
    assert DAMAGES["noise"](grey, np.random.default_rng(0), 0.1).std() == pytest.approx(0.1, rel=0.03)


def test_holes_are_black_squares_of_the_share_that_is_said(images):
    damaged = DAMAGES["holes"](np.zeros_like(images), np.random.default_rng(0), 0.25)
    missing = (damaged == 0).all(axis=3)
    assert missing.mean() == 0.25 and missing.reshape(20, 8, 4, 8, 4).any(axis=(2, 4)).mean() == 0.25


def test_half_size_is_the_mean_of_four():
    images = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1) * 10 / 255
    damage = DAMAGES["half size"]
    smaller = damage(images, np.random.default_rng(0))
    np.testing.assert_allclose(smaller[0, ..., 0] * 255, [[25, 45], [105, 125]], atol=0.5)
    assert damage.enlarged(smaller).shape == images.shape


def test_grey_images_work(images):
    grey = images[:4, ..., :1]
    for damage in DAMAGES.values():
        damaged = damage(grey, np.random.default_rng(0))
        for method in damage.methods:
            assert damage.tuned(method, grey)(damaged).shape == grey.shape


def test_an_image_that_knows_its_blur_is_sharper_with_the_right_one(images):
    """Richardson–Lucy told another blur than the one that was applied does worse."""
    damage = DAMAGES["blur"]
    damaged = damage(images, np.random.default_rng(0), 1.0)
    remedy = damage.tuned("Richardson–Lucy", images)
    right, wrong = (quality.of_images(remedy(damaged, strength), images)["PSNR"].mean() for strength in (1.0, 2.0))
    assert right > wrong + 1


def test_gains_are_over_the_best_classical_method():
    """Wiener is the better one by its mean; the decoder is 1 dB above it, image by image."""
    psnr = {"damaged": [10, 12, 14], "Wiener": [20, 22, 24], "Richardson–Lucy": [25, 20, 20], "decoder": [21, 23.1, 24.9]}
    scores = {("blur", name): pd.DataFrame({"PSNR": values, "SSIM": 0.5}) for name, values in psnr.items()}
    (row,) = restoration.gains(scores).to_dict("records")
    assert row["best"] == "Wiener" and row["gain"] == pytest.approx(1) and row["verdict"] == "better than"
    table = restoration.table(scores)
    assert table.loc[("blur", "damaged"), "PSNR, dB"] == "12.00 ± 4.97"
    assert len(restoration.gains_figure(restoration.gains(scores)).axes[0].get_yticklabels()) == 1


def test_a_decoder_is_compared_at_each_strength(images):
    """A "decoder" that returns the original is better in PSNR; a classifier that is always right tells nothing apart."""
    damage = DAMAGES["noise"]
    methods = {"damaged": lambda damaged, strength: damaged, "decoder": lambda damaged, strength: images}
    found = restoration.over_strengths(damage, methods, images, lambda shown: np.ones(len(shown), bool))
    assert len(found) == 1 + 2 * len(damage.strengths) and found["method"][0] == "clean"
    verdicts = restoration.verdicts(found)
    assert list(verdicts.index) == list(damage.strengths)
    assert set(verdicts["PSNR"]) == {"better than damaged"}
    assert set(verdicts["accuracy"]) == {"not shown to differ from damaged"}
    assert len(restoration.figure(found, "noise").axes) == 2
