"""Features of a pretrained network against training from scratch, by the number of labels: Zeiler & Fergus 2013, section 5.2.

Their tables 4 to 6 and figure 9 do it on Caltech-101, Caltech-256 and Pascal VOC.
"""

import numpy as np
import pandas as pd

from deconvlib import checks, figures, networks
from deconvlib.backend import keras
from deconvlib.data.dataset import Dataset
from deconvlib.experiments import statistics
from deconvlib.training import augmentation, evaluation, fit, transfer

PRETRAINED, SCRATCH = "head on pretrained features", "from scratch"
HELD_OUT = 0.2  # of the training images: they choose the strength of the head
EPOCHS = 10  # of the training from scratch, of `shown` / EPOCHS images each


def measure(
    model: keras.Model, dataset: Dataset, small: Dataset, counts: list[int], shown: int = 20_000, seed: int = 0
) -> pd.DataFrame:
    """Test accuracy of both ways to a classifier, with so many labels a class; a row a count and way.

    model: of `transfer.classifier`, frozen; its head is set. dataset: images as the model takes them. small: the same images
    and labels, of the size on which `from_scratch` trains a network: on all images, where the head holds a fifth of them out.
    Columns: labels, a class; way, PRETRAINED or SCRATCH; accuracy, low, high: on the test images, with Wilson's 95 % interval.
    Raises ValueError where the two data sets have other labels.
    """
    same = np.array_equal(dataset.y_train, small.y_train) and np.array_equal(dataset.y_test, small.y_test)
    if not same:
        raise ValueError("dataset and small must hold the same images, of two sizes: their labels differ")
    checks.positive("shown", shown)
    x_test, rows = transfer.features(model, dataset.x_test), []
    for count in counts:
        few, tiny = (each.take_per_class(count, seed=seed) for each in (dataset, small))
        transfer.fit_head(model, few.hold_out(max(HELD_OUT, 1 / count), seed=seed))
        kernel, bias = model.get_layer(transfer.HEAD).get_weights()
        rows.append((count, PRETRAINED, *statistics.share((x_test @ kernel + bias).argmax(axis=1) == dataset.y_test)))
        scratch = from_scratch(tiny, shown, seed)
        rows.append((count, SCRATCH, *statistics.share(evaluation.evaluate(scratch, tiny).predicted == tiny.y_test)))
    return pd.DataFrame(rows, columns=["labels", "way", "accuracy", "low", "high"])


def from_scratch(dataset: Dataset, shown: int = 20_000, seed: int = 0) -> keras.Model:
    """The network and the settings of notebook 03, trained on `dataset` for so many images in all."""
    model = networks.classifier(dataset.image_shape, dataset.num_classes, normalization="batch", dense_units=128, seed=seed)
    settings = {"optimizer": "adamw", "learning_rate": 2e-3, "schedule": "cosine", "weight_decay": 0.05, "verbose": False}
    epoch = max(1, shown // EPOCHS)
    moved = augmentation(seed=seed)
    fit(model, dataset, epochs=EPOCHS, images_per_epoch=epoch, batch_size=32, augmentation=moved, seed=seed, **settings)
    return model


def figure(table: pd.DataFrame, chance: float):
    """Test accuracy by the number of labels, a line a way, with the interval over the test images; grey: guessing."""
    if not len(table):
        return figures.message("no number of labels was asked for")
    fig, ax = figures.one(2.8)
    for way, rows in table.groupby("way", sort=False):
        away = rows["accuracy"] - rows["low"], rows["high"] - rows["accuracy"]
        ax.errorbar(rows["labels"], rows["accuracy"], away, fmt="-o", markersize=4, elinewidth=1, capsize=2, label=way)
    ax.axhline(chance, color="0.7", linewidth=0.8)
    ax.set(xlabel="labelled training images a class", ylabel="test accuracy", ylim=(0, 1.02), xscale="log")
    counts = table["labels"].unique()
    ax.set_xticks(counts, counts)
    ax.minorticks_off()
    ax.legend(loc="lower right")
    return fig
