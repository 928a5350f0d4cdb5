"""Training images moved and mirrored."""

import numpy as np

from deconvlib import training


def test_a_shift_moves_whole_pixels_mirrors_at_the_border_and_rests_outside_of_training():
    shift = training.augmentation(flip=False, shift=0.25)[0]
    images = np.arange(2 * 8 * 12 * 3, dtype=np.float32).reshape(2, 8, 12, 3)
    assert np.array_equal(shift(images), images)
    padded = np.pad(images, ((0, 0), (2, 2), (3, 3), (0, 0)), mode="symmetric")
    seen = set()
    for _ in range(200):
        moved = np.asarray(shift(images, training=True))
        for image, whole in zip(moved, padded, strict=True):
            places = [(y, x) for y in range(5) for x in range(7) if np.array_equal(image, whole[y : y + 8, x : x + 12])]
            assert len(places) == 1
            seen |= set(places)
    assert len(seen) == 35  # every move there is


def test_an_image_stands_before_its_copies():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    shown = training.augmented(image, 3, flip=False, shift=0.25)
    assert shown.shape == (4, 8, 8, 3) and np.array_equal(shown[0], image / np.float32(255))
    assert any(not np.array_equal(copy, shown[0]) for copy in shown[1:])
    assert (training.augmented(image, 2, flip=False, shift=0) == image / np.float32(255)).all()
