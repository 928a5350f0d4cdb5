"""A pretrained head against training from scratch."""

import pytest

from deconvlib import data, networks, training
from deconvlib.experiments import few_labels
from deconvlib.training import transfer


@pytest.fixture(scope="module")
def digits():
    return data.load("digits").take_classes(["1", "7"]).take(100, 60)


@pytest.fixture(scope="module")
def model(digits):
    base = networks.classifier(digits.image_shape, 10, filters=(8,), normalization="batch")
    training.fit(base, data.load("digits"), epochs=1, verbose=False)
    return transfer.classifier(base, 2)


def test_a_row_for_each_count_and_way(model, digits):
    table = few_labels.measure(model, digits, digits, [2, 20], shown=300)
    assert (
        table["labels"].tolist() == [2, 2, 20, 20] and table["way"].tolist() == [few_labels.PRETRAINED, few_labels.SCRATCH] * 2
    )
    assert ((table["low"] <= table["accuracy"]) & (table["accuracy"] <= table["high"])).all()
    assert table["accuracy"].iloc[2] > 0.8
    # the head that was set last is that of the last count
    assert training.evaluate(model, digits).accuracy == pytest.approx(table["accuracy"].iloc[2])
    ax = few_labels.figure(table, 0.5).axes[0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [few_labels.PRETRAINED, few_labels.SCRATCH]


def test_without_a_count_there_is_nothing_to_show(model, digits):
    assert (
        "no number of labels"
        in few_labels.figure(few_labels.measure(model, digits, digits, []), 0.5).axes[0].texts[0].get_text()
    )


def test_other_images_are_refused(model, digits):
    with pytest.raises(ValueError, match="the same images, of two sizes"):
        few_labels.measure(model, digits, digits.take(50), [2])
