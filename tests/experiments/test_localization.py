"""Localization, of maps and masks whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from deconvlib import data
from deconvlib.experiments import localization, saliency

MASKS = np.zeros((2, 8, 8), bool)
MASKS[:, 2:4, 3:6] = True


def test_a_perfect_localizer():
    masks = data.shapes(train=1, test=100).masks_test
    table = localization.measure({"perfect": masks.astype(float)}, masks)
    assert table["value"].tolist() == [1, 1, 1, 1]
    assert table["high"].tolist() == [1, 1, 1, 1]


def test_a_random_localizer_finds_the_masks_share_of_the_image():
    masks = data.shapes(train=1, test=500).masks_test
    maps = saliency.baselines(np.zeros((500, 32, 32, 3)))["random"]
    table = localization.measure({"random": maps}, masks).set_index("measure")
    for measure in ("pointing game", "energy in mask"):
        assert table.loc[measure, "low"] < masks.mean() < table.loc[measure, "high"]


def test_a_map_that_is_the_same_everywhere_finds_nothing():
    flat = np.zeros((2, 8, 8))
    assert not localization.pointing_game(flat, MASKS).any()
    assert not localization.energy_in_mask(flat, MASKS).any()
    np.testing.assert_array_equal(localization.boxes(flat), [[0, 0, 8, 8]] * 2)


def test_energy_by_hand():
    values = np.zeros((1, 8, 8))
    values[0, 2, 3], values[0, 0, 0], values[0, 7, 7] = 3, 1, -5
    np.testing.assert_allclose(localization.energy_in_mask(values, MASKS[:1]), [0.75])
    assert localization.pointing_game(values, MASKS[:1]) == [True]


def test_a_box_holds_the_component_with_most_energy_and_its_specks():
    values = np.zeros((1, 16, 16))
    values[0, 1, 1] = 1.0  # the maximum, alone
    values[0, [8, 8, 11], [9, 12, 12]] = 0.5  # gaps of two pixels
    values[0, 10, 10] = 0.3  # below the threshold
    np.testing.assert_array_equal(localization.boxes(values), [[8, 9, 12, 13]])


def test_intersection_over_union_by_hand():
    one = np.array([[0, 0, 4, 4], [0, 0, 2, 2], [1, 1, 3, 3]])
    other = np.array([[2, 2, 6, 6], [2, 2, 4, 4], [1, 1, 3, 3]])
    np.testing.assert_allclose(localization.box_iou(one, other), [4 / 28, 0, 1])


def test_the_figure_has_a_point_and_an_interval_for_each_method(drawn):
    table = pd.DataFrame({"method": ["a", "b"], "measure": "box IoU", "value": [0.5, 1], "low": [0.4, 1], "high": [0.6, 1]})
    fig = drawn(localization.figure(table))
    (bars,) = fig.axes[0].containers
    assert bars.lines[0].get_xdata().tolist() == [0.5, 1]
    np.testing.assert_allclose(bars.lines[2][0].get_segments()[0][:, 0], [0.4, 0.6])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: localization.pointing_game(np.zeros((2, 8, 8)), np.zeros((2, 8, 8), bool)), "mask 0 is empty"),
        (lambda: localization.energy_in_mask(np.zeros((2, 8, 8)), np.ones((2, 8, 8))), "masks must be bool"),
        (lambda: localization.energy_in_mask(np.zeros((2, 9, 8)), MASKS), r"maps must be \(2, 8, 8\)"),
        (lambda: localization.measure({"guided": np.full((2, 8, 8), np.nan)}, MASKS), "guided: map 0 holds NaN"),
    ],
)
def test_refuses(call, said):
    with pytest.raises(ValueError, match=said):
        call()
