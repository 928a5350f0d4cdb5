"""Numbers for the quality of images, the distance of two collections of images, and the overlap of masks."""

import numpy as np
import pandas as pd
from scipy import linalg
from skimage import metrics


def of_images(images: np.ndarray, originals: np.ndarray) -> pd.DataFrame:
    """PSNR, in dB, and SSIM, at most 1, of each image against its original: a row an image.

    Both float (n, height, width, channels) in [0, 1], of 7 × 7 pixels or more. SSIM (Wang et al. 2004) uses a square
    window of 7 pixels, and is the mean over the channels. For an image equal to its original the PSNR is that of an error
    of half a grey level of 255.
    Raises ValueError for images of another shape than their originals, and for NaN.
    """
    if images.shape != originals.shape or images.ndim != 4:
        raise ValueError(f"images of shape {images.shape} and originals of {originals.shape} must be alike, (n, h, w, c)")
    if not np.isfinite(images).all():
        raise ValueError("an image holds NaN or infinity")
    images, originals = images.astype(np.float64), originals.astype(np.float64)
    error = np.maximum(np.square(images - originals).mean(axis=(1, 2, 3)), (0.5 / 255) ** 2)
    pairs = zip(images, originals, strict=True)
    alike = [metrics.structural_similarity(one, other, channel_axis=-1, data_range=1) for one, other in pairs]
    return pd.DataFrame({"PSNR": -10 * np.log10(error), "SSIM": alike})


def frechet_distance(features: np.ndarray, others: np.ndarray) -> float:
    """The distance of two collections, by the mean and covariance of their features (n, size): 0 for equal ones.

    |m₁ - m₂|² + tr(C₁ + C₂ - 2 (C₁ C₂)^½), as in Heusel et al. 2017. They take the features of another network, and numbers
    of different networks cannot be compared. Few images make it too large.
    Raises ValueError for features of different size, or fewer than two of them.
    """
    if features.ndim != 2 or features.shape[1:] != others.shape[1:] or min(len(features), len(others)) < 2:
        raise ValueError(f"features of shape {features.shape} and {others.shape} must be (n, size), n two or more")
    mean, other_mean = (part.mean(axis=0, dtype=np.float64) for part in (features, others))
    covariance, other = (np.atleast_2d(np.cov(part, rowvar=False)) for part in (features, others))
    # the symmetric C₁^½ C₂ C₁^½ has the eigenvalues of C₁ C₂, and no complex root
    values, vectors = linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    cross = np.sqrt(np.maximum(linalg.eigvalsh(root @ other @ root), 0)).sum()
    return float(np.square(mean - other_mean).sum() + np.trace(covariance + other) - 2 * cross)


def intersection_over_union(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """Intersection over union of the predicted and the true pixels of each class: (num_classes,), NaN for a class of none.

    predicted, truth: integers of one shape. The mean of the result is the mean IoU (Everingham et al. 2015).
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"predictions of shape {predicted.shape} for truth of {truth.shape}")
    pairs = np.bincount(num_classes * truth.ravel().astype(int) + predicted.ravel(), minlength=num_classes**2)
    confusion = pairs.reshape(num_classes, num_classes)
    both = np.diag(confusion)
    with np.errstate(invalid="ignore"):
        return both / (confusion.sum(axis=0) + confusion.sum(axis=1) - both)
