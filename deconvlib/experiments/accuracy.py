"""Does deconvolution raise accuracy? The variants of a classifier, each beside the one that it is compared with."""

import numpy as np
import pandas as pd

from deconvlib import networks, training


def variants(filters) -> dict[str, dict]:
    """{variant: what `networks.classifier` takes for it}. filters: channels of each stage of the plain network, two or more.

    "wide" and "wide branch" have the channels that make them cost about what a decoder costs, in line and as a branch.
    """
    line, branch = {"decoder_filters": filters[-2:-1]}, {"decoder_filters": filters[-2::-1], "reconstruction_weight": 1.0}
    own = {
        "plain": {},
        "wide": {"filters": [round(1.2 * width) for width in filters], "dense_units": 112},
        "wide branch": {"filters": [round(1.3 * width) for width in filters]},
        "transposed": line | {"decoder": "transposed"},
        "unpooling": line | {"decoder": "unpooling"},
        "resize": line | {"decoder": "resize"},
        "sub-pixel": line | {"decoder": "subpixel", "decoder_kernel_size": 2},
        "branch": branch | {"decoder": "transposed"},
        "branch, all stages": branch | {"decoder": "unpooling", "reconstructed": "all"},
        "branch, unlabelled": branch | {"decoder": "transposed"},
        "network deconvolution": {"normalization": "deconvolution"},
        "network deconvolution, first layer": {"normalization": "deconvolution_then_batch"},
        "balanced weights": {},
    }
    return {name: {"filters": filters, "normalization": "batch", "dense_units": 64} | each for name, each in own.items()}


QUESTIONS = {  # {variant: its control}: what is asked, and tested; named before any run
    "network deconvolution": "plain",
    "network deconvolution, first layer": "plain",
    "balanced weights": "plain",
    "transposed": "wide",
    "unpooling": "wide",
    "resize": "wide",
    "sub-pixel": "wide",
    "branch": "wide branch",
    "branch, all stages": "wide branch",
    "branch, unlabelled": "wide branch",
}


def costs(models, controls) -> pd.DataFrame:
    """Trained parameters and MFLOPs of an image of each model, and both over its control's: a row a variant.

    models: {variant: model}. controls: {variant: its control}, both among the models.
    """
    rows = {}
    for name, model in models.items():
        trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)
        rows[name] = {"parameters": trained, "MFLOPs": networks.layer_table(model)["FLOPs"].sum() / 1e6}
    table = pd.DataFrame(rows).T
    over = table / table.loc[[controls.get(name, name) for name in rows]].to_numpy()
    return table.join(over.add_suffix(", over control's"))


def points(results, compared) -> pd.DataFrame:
    """Gains in percentage points: a row a comparison, a column a regime, and the least and greatest of the times it took.

    results: rows with regime, variant and seconds. compared: from `statistics.compare`, of shares. "time, min" and "time, max":
    the mean seconds of a training over the control's.
    """
    took = results.groupby(["regime", "variant"])["seconds"].mean()
    names = zip(compared["regime"], compared["variant"], compared["control"], strict=True)
    times = [took[regime, variant] / took[regime, control] for regime, variant, control in names]
    rows = compared.assign(points=100 * compared["difference"], times=times)
    table = rows.pivot(index=["variant", "control"], columns="regime", values="points")[rows["regime"].unique()]
    spread = rows.groupby(["variant", "control"])["times"].agg(["min", "max"])
    order = list(dict.fromkeys(zip(rows["variant"], rows["control"], strict=True)))
    table = table.rename(columns=lambda name: name.partition(", ")[2] or name)  # without the data's name
    return table.join(spread.add_prefix("time, ")).loc[order].round(1) + 0.0  # not -0.0


def row(model, dataset, history) -> dict:
    """What a trained variant reached: accuracy, balanced accuracy, seconds of training, and its curve of test accuracies."""
    result = training.evaluate(model, dataset)
    found = {"accuracy": result.accuracy, "balanced accuracy": result.balanced_accuracy}
    return found | {"seconds": history["seconds"].sum(), "curve": history["val_accuracy"].tolist()}


def regime(name, labels_per_class, imbalance, epochs, schedule) -> str:
    """In words: which of the images of that name are trained on, and how."""
    said = f"imbalance {imbalance:g}" if imbalance > 1 else f"all labels, {epochs} epochs"
    said = f"{labels_per_class} labels a class" if labels_per_class and imbalance == 1 else said
    return f"{name}, {said}" + ("" if schedule == "cosine" else f", {schedule} rate")


def kinds(regimes) -> dict[str, str]:
    """{regime: "long tail", "few labels" or "all labels"}."""
    words = {"imbalance": "long tail", "labels a class": "few labels"}
    return {name: next((kind for word, kind in words.items() if word in name), "all labels") for name in regimes}
