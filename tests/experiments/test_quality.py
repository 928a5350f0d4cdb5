"""Numbers against ones written down, scikit-image and SciPy."""

import numpy as np
import pytest
from scipy import linalg, stats
from skimage import metrics

from deconvlib.experiments import quality


def test_psnr_and_ssim_are_scikit_images():
    rng = np.random.default_rng(0)
    originals = rng.random((3, 12, 10, 3)).astype(np.float32)
    images = np.clip(originals + rng.normal(0, 0.1, originals.shape), 0, 1).astype(np.float32)
    found = quality.of_images(images, originals)
    for index in range(3):
        expected = metrics.peak_signal_noise_ratio(originals[index], images[index], data_range=1)
        assert found["PSNR"][index] == pytest.approx(expected, abs=1e-4)
        expected = metrics.structural_similarity(originals[index], images[index], channel_axis=-1, data_range=1)
        assert found["SSIM"][index] == pytest.approx(expected, abs=1e-5)


def test_an_equal_image_has_a_finite_psnr():
    images = np.full((1, 8, 8, 1), 0.5, np.float32)
    assert quality.of_images(images, images).round(2).to_dict("records") == [{"PSNR": 54.15, "SSIM": 1.0}]


@pytest.mark.parametrize(
    ("images", "said"), [(np.ones((2, 8, 8, 1)), "must be alike"), (np.full((1, 8, 8, 1), np.nan), "NaN or infinity")]
)
def test_images_that_cannot_be_compared(images, said):
    with pytest.raises(ValueError, match=said):
        quality.of_images(images, np.ones((1, 8, 8, 1)))


def test_the_frechet_distance_of_normal_numbers_is_known():
    """Means 1 apart and deviations 2 and 1: 1² + (2 - 1)² = 2, in each of two features."""
    numbers = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    one = np.stack([numbers, np.random.default_rng(0).permutation(numbers)], axis=1)
    assert quality.frechet_distance(2 * one + 1, one) == pytest.approx(4, rel=0.02)
    assert quality.frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_is_that_of_the_matrix_square_root():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4)), rng.normal(size=(40, 4)) @ rng.normal(size=(4, 4)) + 1
    covariances = [np.cov(part, rowvar=False) for part in (one, other)]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = np.square(one.mean(axis=0) - other.mean(axis=0)).sum() + np.trace(sum(covariances) - 2 * root)
    assert quality.frechet_distance(one, other) == pytest.approx(expected)
    with pytest.raises(ValueError, match="two or more"):
        quality.frechet_distance(one[:1], other)


def test_intersection_over_union_by_hand():
    truth, predicted = np.array([[0, 0, 1, 1], [0, 0, 1, 2]]), np.array([[0, 1, 1, 1], [0, 0, 1, 1]], np.uint8)
    found = quality.intersection_over_union(predicted, truth, 4)
    np.testing.assert_allclose(found, [3 / 4, 3 / 5, 0, np.nan])
