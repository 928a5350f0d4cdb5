"""Statistics, near-duplicates and figures of a data set."""

import numpy as np
import pytest

from deconvlib import data

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)


def test_channel_statistics(shapes):
    mean, std = data.channel_statistics(shapes.x_train)
    pixels = shapes.x_train.reshape(-1, 3) / 255
    np.testing.assert_allclose([mean, std], [pixels.mean(axis=0), pixels.std(axis=0)])


def test_images_by_similarity_begin_with_the_image_itself_and_its_darker_copy(shapes):
    images = shapes.x_train[:50].copy()
    images[30] = images[7] // 2
    assert set(data.by_similarity(images, images[7])[:2]) == {7, 30}


def test_near_duplicates_finds_the_planted_ones(shapes):
    planted = shapes.x_test.copy()
    planted[3] = shapes.x_train[40]
    planted[5] = np.clip(shapes.x_train[41] * 0.8 + 10, 0, 255).astype(np.uint8)  # darker: still the same picture
    pairs = data.near_duplicates(
        data.Dataset("p", shapes.x_train, shapes.y_train, planted, shapes.y_test, shapes.class_names), 0.99
    )
    assert list(zip(pairs["train"], pairs["test"], strict=True)) == [(40, 3), (41, 5)]  # most similar first
    assert pairs["similarity"].is_monotonic_decreasing and pairs["similarity"].between(0.99, 1.00001).all()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: data.class_sheet(IMAGES, np.arange(12) % 3, ("a", "b", "c"), per_class=5),
        lambda: data.class_sizes({"all": np.array([5, 3]), "few": np.array([1, 1])}, ("a", "b")),
        lambda: data.channel_histograms(IMAGES),
        lambda: data.channel_histograms(IMAGES[..., :1]),
        lambda: data.image_pairs(IMAGES[:2], IMAGES[2:4], ["0.99", "0.98"], "training", "test"),
        lambda: data.image_pairs(IMAGES[:0], IMAGES[:0], [], "training", "test"),
    ],
    ids=["class_sheet", "class_sizes", "channel_histograms", "grey", "image_pairs", "no image_pairs"],
)
def test_every_figure_can_be_drawn(draw, drawn):
    drawn(draw())


@pytest.mark.parametrize(("side", "gap"), [(8, 1), (96, 3)])
def test_rows_of_a_class_sheet_have_white_between_their_images(side, gap):
    black = np.zeros((4, side, side, 3), np.uint8)
    (image,) = data.class_sheet(black, np.zeros(4, int), ("a",), per_class=2).axes[0].images
    row = np.asarray(image.get_array())[0, :, 0]
    assert row.tolist() == side * [0] + gap * [1] + side * [0]
