"""Which method passes which test: numbers whose verdict is known, and networks whose maps are."""

import numpy as np
import pandas as pd
import pytest

from deconvlib.backend import keras
from deconvlib.experiments import occlusion, randomization, saliency, scorecard

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 16, 16, 3), np.uint8)
EDGES, RANDOM = saliency.BASELINES


def card(test, **numbers):
    """The verdicts of a test by method."""
    named = {name.replace("edges", EDGES): np.array(each) for name, each in numbers.items()}
    return scorecard.measure({test: named}).set_index("method")["verdict"].to_dict()


def test_a_number_is_the_mean_over_the_images_with_its_interval():
    areas = {"a": np.array([0.1, 0.2, 0.3]), EDGES: np.full(3, 0.5), RANDOM: np.full(3, 0.5)}
    hits = {"a": np.ones(10, bool), EDGES: np.zeros(10, bool), RANDOM: np.zeros(10, bool)}
    table = scorecard.measure({"deletion": areas, "pointing game": hits})
    assert table.columns.tolist() == ["test", "method", "value", "low", "high", "verdict"] and len(table) == 6
    first, share = table.iloc[0], table.iloc[3]
    half = 4.302653 * 0.1 / np.sqrt(3)  # Student's t of two degrees of freedom
    np.testing.assert_allclose(first[["value", "low", "high"]].astype(float), [0.2, 0.2 - half, 0.2 + half], rtol=1e-6)
    # Wilson's interval of 10 of 10 begins at 10 / (10 + 1.96²)
    np.testing.assert_allclose(share[["value", "low", "high"]].astype(float), [1, 10 / (10 + 1.959964**2), 1], rtol=1e-6)
    assert first["verdict"] == share["verdict"] == "passes"
    assert table.loc[table["method"].isin(saliency.BASELINES), "verdict"].eq("baseline").all()


@pytest.mark.parametrize(("test", "better"), [("deletion", -1), ("insertion", 1), ("occlusion of the unit", 1)])
def test_a_method_beats_both_baselines_image_by_image(test, better):
    """The images differ by more than the methods: only the paired differences tell."""
    hard = np.array([0.0, 0.4, 0.8, 0.3])
    for gain, verdict in ((0.1, "passes"), (-0.1, "fails"), (0.0, "fails")):
        assert card(test, a=hard + better * gain, edges=hard, random=hard)["a"] == verdict
    assert card(test, a=hard, edges=hard - better * 0.1, random=hard + better * 0.1)["a"] == "fails"
    assert card(test, a=hard, edges=hard + better * 0.1, random=hard - better * 0.1)["a"] == "fails"
    # by 0.1 in the mean, but not in every image: the interval of ±0.2 holds 0
    spread = better * np.array([0.3, -0.1, 0.1, 0.1])
    assert card(test, a=hard + spread, edges=hard, random=hard)["a"] == "fails"


def test_a_share_of_hits_is_compared_image_by_image():
    hits = np.arange(20) < 15
    assert card("pointing game", a=hits, edges=hits & (np.arange(20) > 9), random=np.zeros(20, bool))["a"] == "passes"
    assert card("pointing game", a=hits, edges=hits & (np.arange(20) > 1), random=np.zeros(20, bool))["a"] == "fails"


@pytest.mark.parametrize(("values", "verdict"), [([0.40, 0.42], "fails"), ([0.40, 0.404], "passes"), ([0.6, 0.604], "fails")])
def test_randomization_asks_for_less_than_half_of_the_picture_with_the_whole_interval(values, verdict):
    """Of two images the interval is 6.35 times their distance, on either side: 0.283 to 0.537, then 0.377 to 0.427."""
    assert card("randomization", a=values) == {"a": verdict}


def test_a_sentence_for_each_method():
    rows = [
        ("deletion", "a", "passes"),
        ("deletion", "b", "fails"),
        ("deletion", EDGES, "baseline"),
        ("deletion", "c", "fails"),
    ]
    rows += [("insertion", "a", "passes"), ("insertion", "b", "fails"), ("randomization", "b", "passes")]
    rows += [("randomization", "c", "fails"), ("insertion", "c", "fails")]
    table = pd.DataFrame(rows, columns=["test", "method", "verdict"])
    assert scorecard.verdicts(table) == [
        "a passes 2 of 2",
        "b passes 1 of 3: fails deletion and insertion",
        "c passes 0 of 3: fails deletion, randomization and insertion",
    ]


def test_the_figure_has_each_method_and_says_what_it_passes(drawn):
    some = np.array([0.2, 0.3, 0.25])
    areas = {"a": some, "b": some + 0.4, EDGES: some + 0.2, RANDOM: some + 0.3}
    table = scorecard.measure({"randomization": {"a": some}, "deletion": areas})
    fig = drawn(scorecard.figure(table))
    random, deletion = fig.axes
    assert [label.get_text() for label in random.get_yticklabels()] == ["a", "b"]
    assert [(bar.lines[0].get_xdata()[0], bar.lines[0].get_ydata()[0]) for bar in deletion.containers] == [
        (pytest.approx(0.25), 0),
        (pytest.approx(0.65), 1),
    ]
    assert [bar.lines[0].get_marker() for bar in deletion.containers] == ["o", "X"], "pass and fail, without colour"
    at = [line.get_xdata()[0] for line in deletion.lines if line.get_linestyle() in ("--", ":")]
    np.testing.assert_allclose(at, [0.45, 0.55])
    assert len(random.containers) == 1 and [text.get_text() for text in deletion.texts] == ["2 of 2", "0 of 1"]
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == ["passes", "fails", EDGES, RANDOM, "limit"]


def test_randomized_maps_are_compared_with_those_of_the_network(network, monkeypatch):
    classes, methods = np.arange(5) % 4, ("guided", "gradient", "Grad-CAM")
    maps = saliency.competing(network, IMAGES, classes, "relu2", 3, methods)
    given = maps | saliency.baselines(IMAGES)
    found = scorecard.randomized(network, IMAGES, classes, "relu2", given, seed=3)
    assert tuple(found) == methods and found["gradient"].shape == (5,) and found["gradient"].mean() < 0.9
    random = saliency.competing(randomization.without_classes(network, 3), IMAGES, classes, "relu2", 3, ("gradient",))
    np.testing.assert_allclose(found["gradient"], randomization.ssim(maps["gradient"], random["gradient"]))
    monkeypatch.setattr(randomization, "without_classes", lambda model, seed: model)
    for same in scorecard.randomized(network, IMAGES, classes, "relu2", given, seed=3).values():
        np.testing.assert_allclose(same, 1)  # nothing was randomized


@pytest.fixture(scope="module")
def square():
    """One unit, the sum of a square of 4 × 4 pixels of 12 × 12; below it the image itself; two classes."""
    images = keras.Input((12, 12, 1))
    x = keras.layers.Conv2D(1, 1, activation="relu", name="low")(images)
    x = keras.layers.Conv2D(1, 12, activation="relu", name="unit")(x)
    model = keras.Model(images, keras.layers.Dense(2, activation="softmax", name="softmax")(keras.layers.Flatten()(x)))
    kernel = np.zeros((12, 12, 1, 1))
    kernel[4:8, 2:6] = 1
    model.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1), kernel, np.zeros(1), np.array([[1.0, 0]]), np.zeros(2)])
    return model


def test_a_map_that_is_the_unit_s_weights_agrees_with_what_hiding_does(square):
    images = np.ones((3, 12, 12, 1), np.float32)
    images[2, 4:8, 2:6] = 0.5  # what a gray square shows: hiding changes nothing
    occluded = occlusion.measure(square, images, np.zeros(3, int), "unit", size=4, stride=2, unit=True)
    found = scorecard.of_the_unit(square, images, occluded)
    assert list(found) == [*saliency.METHODS, *saliency.BASELINES]
    for method in ("deconvnet", "guided", "gradient", "gradient × input", "integrated gradients"):
        np.testing.assert_allclose(found[method], [1, 1], atol=1e-6, err_msg=method)
    # its weight for the map is the same everywhere, and so is the map
    np.testing.assert_allclose(found["Grad-CAM"], [0, 0])
    assert (abs(found["random"]) < 0.9).all() and found[EDGES].tolist() == [0, 0]


def test_the_baselines_are_within_what_the_unit_sees(monkeypatch):
    """A unit of a convolution of 3 × 3 sees 9 pixels, fewer at the border; the square hides one pixel at a time."""
    images = keras.Input((5, 6, 1))
    x = keras.layers.Conv2D(1, 3, padding="same", activation="relu", name="unit")(images)
    model = keras.Model(images, keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x)))
    model.get_layer("unit").set_weights([np.ones((3, 3, 1, 1)), np.zeros(1)])
    bright = np.full((2, 5, 6, 1), 0.625, np.float32)
    bright[0, 2, 3], bright[1, 0, 5] = 1, 1
    bright[1, 0, 4], bright[1, 1, 4:] = 1, 1  # the strongest unit is (1, 4): it sees rows 0 to 2, columns 3 to 5
    occluded = occlusion.measure(model, bright, np.zeros(2, int), "unit", size=1, stride=1, unit=True)
    asked, agreement_of = {}, occlusion.agreement_of
    monkeypatch.setattr(occlusion, "agreement_of", lambda maps, found: asked.update(maps) or agreement_of(maps, found))
    found = scorecard.of_the_unit(model, bright, occluded, methods=("gradient",))
    np.testing.assert_array_equal(asked[RANDOM][1] > 0, asked["gradient"][1] > 0)
    assert (asked[RANDOM][1] > 0).sum() == 9 and (asked[RANDOM][1, :3, 3:] > 0).all()
    first = asked["gradient"][0] > 0
    np.testing.assert_array_equal(asked[RANDOM][0] > 0, first)
    fall = occluded.whole_activation[0, 0] - occluded.activation[0, ..., 0]
    np.testing.assert_allclose(fall, np.where(first, bright[0, ..., 0] - 0.5, 0), atol=1e-6)
    assert list(found) == ["gradient", EDGES, RANDOM]


def test_a_unit_with_no_maps_below_it_has_no_grad_cam(square):
    single = keras.Model(square.get_layer("unit").input, square.output)
    images = np.ones((2, 12, 12, 1), np.float32)
    occluded = occlusion.measure(single, images, np.zeros(2, int), "unit", size=4, unit=True)
    found = scorecard.of_the_unit(single, images, occluded, methods=("gradient", "Grad-CAM", "guided Grad-CAM"))
    assert list(found) == ["gradient", EDGES, RANDOM]


def test_a_test_without_images_has_no_row():
    nothing = np.zeros(0)
    table = scorecard.measure({"occlusion of the unit": {"a": nothing, EDGES: nothing, RANDOM: nothing}})
    assert not len(table)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"delete": {"a": [1.0]}}, "test 'delete' is not known; did you mean 'deletion'"),
        ({"deletion": {"a": [1.0, 2], RANDOM: [1.0, 2]}}, "test 'deletion' needs numbers of 'edge detector'"),
        ({"randomization": {}}, "test 'randomization' needs numbers of a method"),
        ({"randomization": {"a": [1.0, 2], "b": [1.0]}}, "one number an image, of the same images for each method"),
        ({"randomization": {"a": [[1.0, 2]]}}, r"one number an image.*not shapes \{\(1, 2\)\}"),
        ({"randomization": {"a": [1.0], "b": [np.nan]}}, "a number of 'b' is NaN or infinite"),
    ],
)
def test_refuses(values, said):
    with pytest.raises(ValueError, match=said):
        scorecard.measure(values)
