"""What a trained model gives, what it gets right and wrong, and the figures of it."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import confusion_matrix

from deconvlib import backend, checks, figures
from deconvlib.backend import keras
from deconvlib.data.dataset import Dataset
from deconvlib.deconvnet import activations, graph, inputs

BATCH = 250  # images, at most


def predict(model: keras.Model, *inputs: np.ndarray) -> np.ndarray:
    """What `model` gives, float32, for `inputs`, float arrays of one length, one for each of its inputs, in batches."""
    run = graph.kept(_forward, model, *(array.shape[1:] for array in inputs))
    starts = range(0, len(inputs[0]), BATCH)
    answers = np.concatenate([run(*(x[start : start + BATCH] for x in inputs))[0] for start in starts])
    return answers.astype(np.float32, copy=False)  # NumPy computes little with bfloat16


def turned(images: np.ndarray, number: int) -> np.ndarray:
    """One of the 8 views of images (n, side, side, ...): turned by `number` quarters, from 4 on mirrored afterwards.

    Raises ValueError for an odd number of quarters where the sides differ: a network takes images of one shape.
    """
    if number % 2 and images.shape[1] != images.shape[2]:
        raise ValueError(f"images of {images.shape[1]} × {images.shape[2]} cannot be turned: only square ones can")
    images = np.rot90(images, number % 4, axes=(1, 2))
    return np.ascontiguousarray(images[:, :, ::-1] if number >= 4 else images)


def mean_of_views(run, images: np.ndarray, numbers=range(8)) -> np.ndarray:
    """The mean of what run(images) -> maps (n, side, side, ...) gives for the views of those numbers, each turned back.

    The enhanced prediction of Timofte et al. 2016, "Seven Ways to Improve Example-Based Single Image Super Resolution".
    """
    total = 0
    for number in numbers:
        maps = run(turned(images, number))
        total = total + np.rot90(maps[:, :, ::-1] if number >= 4 else maps, -(number % 4), axes=(1, 2))
    return total / len(numbers)


def _forward(model, *shapes):
    # not model.predict: of many small models TensorFlow would warn that each has a program of its own
    return backend.compiled(lambda *parts: model(parts if len(parts) > 1 else parts[0], training=False), model, *shapes)


def check_classifier(model: keras.Model):
    """Raises ValueError unless `model` gives the probabilities of two or more classes for an image; asked of a black one."""
    checks.classifier(model)
    black = np.zeros([1, *(length or 64 for length in model.input_shape[1:])], np.float32)
    checks.probabilities(model, predict(model, black))


def readings(model: keras.Model, images: np.ndarray, labels: np.ndarray | None = None) -> pd.DataFrame:
    """What a classifier answers where its pixels are read in each of the usual ranges: one row a range.

    images: uint8 (n, height, width, channels); labels: integers (n,), the true classes, or None. Columns: pixels, the range;
    confidence, the mean; answers, how many classes are given; accuracy, where there are labels. The range that a model was
    trained on gives the best accuracy; without labels, more confidence and more classes are a sign, and no proof.
    """
    rows = []
    for low, high in inputs.RANGES:
        chances = predict(model, inputs.in_range(images, low, high))
        answers, sure = chances.argmax(axis=1), chances.max(axis=1).mean()
        row = {"pixels": f"{low} to {high}", "confidence": sure, "answers": len(set(answers))}
        rows.append(row if labels is None else row | {"accuracy": np.mean(answers == labels)})
    return pd.DataFrame(rows)


class Evaluation(NamedTuple):
    """What a classifier does on test images. n images, K classes; shares and probabilities in [0, 1]."""

    accuracy: float
    balanced_accuracy: float  # mean of `per_class`: every class counts the same
    per_class: np.ndarray  # (K,) share of each class' images that is right
    confusion: np.ndarray  # (K, K) counts; row: truth, column: prediction
    predicted: np.ndarray  # (n,) class
    confidence: np.ndarray  # (n,) probability of the predicted class
    calibration: pd.DataFrame  # ten bins of confidence: confidence, accuracy, count
    calibration_error: float  # expected calibration error: mean |confidence − accuracy| over the bins, by count
    mistakes: np.ndarray  # numbers of the wrong images, most confident first


def evaluate(model: keras.Model, dataset: Dataset, mirrored: bool = False) -> Evaluation:
    """How `model` does on the test images of `dataset`. Raises ValueError where its classes are not the dataset's.

    mirrored: probabilities are the mean of an image's own and its mirror image's. Calibration: Guo et al. 2017, ten equal bins.
    """
    if model.output_shape[-1] != dataset.num_classes:
        raise ValueError(f"the model has {model.output_shape[-1]} classes, {dataset.name} has {dataset.num_classes}")
    views = (0, 4) if mirrored else (0,)
    inputs.check_images(model, dataset.x_test)
    size = activations.batch_size(model, dataset.image_shape, BATCH)
    parts = (dataset.x_test[start : start + size] for start in range(0, len(dataset.x_test), size))
    images = (inputs.as_input(model, part) for part in parts)
    probabilities = np.concatenate([np.mean([predict(model, turned(x, view)) for view in views], axis=0) for x in images])
    checks.probabilities(model, probabilities)
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = predicted == dataset.y_test
    confusion = confusion_matrix(dataset.y_test, predicted, labels=range(dataset.num_classes))
    with np.errstate(invalid="ignore"):  # a class without test images has no accuracy
        per_class = np.diag(confusion) / confusion.sum(axis=1)
    bins = np.minimum((confidence * 10).astype(int), 9)
    calibration = pd.DataFrame({"bin": bins, "confidence": confidence, "accuracy": right}).groupby("bin")
    calibration = calibration.agg(confidence=("confidence", "mean"), accuracy=("accuracy", "mean"), count=("bin", "size"))
    gap = (calibration["confidence"] - calibration["accuracy"]).abs()
    wrong = np.flatnonzero(~right)
    return Evaluation(
        accuracy=float(right.mean()),
        balanced_accuracy=float(np.nanmean(per_class)),
        per_class=per_class,
        confusion=confusion,
        predicted=predicted,
        confidence=confidence,
        calibration=calibration,
        calibration_error=float((gap * calibration["count"]).sum() / len(right)),
        mistakes=wrong[np.argsort(-confidence[wrong], kind="stable")],
    )


def confusion(matrix, class_names):
    """A confusion matrix, truth by row, in percent of the row. matrix: counts (classes, classes)."""
    total = matrix.sum(axis=1, keepdims=True)
    percent = 100 * matrix / np.maximum(total, 1)
    size = min(0.42 * len(class_names) + 1.6, figures.WIDTH)
    fig = figures.figure(size, size + 0.8)
    ax = fig.subplots()
    image = ax.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    if len(class_names) <= 20:
        for row, column in zip(*np.nonzero(percent >= 0.5), strict=True):
            colour = "white" if percent[row, column] > 50 else "0.2"
            ax.text(column, row, f"{percent[row, column]:.0f}", ha="center", va="center", fontsize=7, color=colour)
        ax.set_xticks(range(len(class_names)), class_names, rotation=60, ha="right")
        ax.set_yticks(range(len(class_names)), class_names)
    ax.set(xlabel="predicted class", ylabel="true class", title=f"{int(total.sum()):,} test images")
    fig.colorbar(image, ax=ax, label="% of the true class", shrink=0.8)
    return fig


def calibration(table, error):
    """Reliability diagram with 95 % intervals of each bin's accuracy (Wilson's).

    table: a row a bin with confidence, accuracy and count; error: expected calibration error.
    """
    fig, (left, right) = figures.panels(2, 2.8, sharey=False)
    left.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    right_ones = (table["accuracy"] * table["count"]).round().astype(int)
    tests = (stats.binomtest(*pair) for pair in zip(right_ones, table["count"].astype(int), strict=True))
    low, high = np.transpose([test.proportion_ci(method="wilson") for test in tests])
    away = np.maximum((table["accuracy"] - low, high - table["accuracy"]), 0)
    left.errorbar(table["confidence"], table["accuracy"], away, fmt="-o", markersize=4, elinewidth=1)
    left.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02), title=f"calibration error {error:.3f}")
    right.bar(table["confidence"], table["count"], width=0.06)
    right.set(xlabel="confidence", ylabel="test images", xlim=(0, 1.02), title="how sure it is")
    return fig


def mistakes(images, truth, predicted, confidence, class_names):
    """Wrongly classified images under what the network said, how sure it was, and the truth."""
    answers = zip(truth, predicted, confidence, strict=True)
    titles = [f"{class_names[given]} {100 * sure:.0f} %\nis {class_names[true]}" for true, given, sure in answers]
    if not titles:
        return figures.message("no mistake")
    images = figures.pixels(images)
    fig, axs = figures.grid(-(-len(images) // 6), 6, row_height=1.75)
    for ax, image, title in zip(axs.flat, images, titles, strict=False):
        figures.show(ax, image, title)
    return fig
