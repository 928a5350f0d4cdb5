"""Methods that draw maps, through the tests of maps, side by side: which of them passes which test.

What passes is fixed before anything is measured. Where two baselines that know no network take a test too, a method must beat
both: the whole 95 % interval of its paired difference over the images lies on the better side of zero. Where they cannot, the
whole interval of its mean lies on the better side of a limit.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from deconvlib import checks, figures
from deconvlib.backend import keras
from deconvlib.deconvnet import choosing, graph, receptive_field
from deconvlib.experiments import occlusion, randomization, saliency, statistics, targets


class Test(NamedTuple):
    """measured: what each image's number is; higher: whether more of it is better.

    limit: that a method must stay on the better side of; None: it must beat the baselines.
    """

    measured: str
    higher: bool
    limit: float | None = None


TESTS = {
    "randomization": Test("SSIM, class scores random", False, 0.5),  # less than half of the picture is left
    "deletion": Test("area while pixels go", False),
    "insertion": Test("area while they come back", True),
    "occlusion of the unit": Test("rank correlation", True),
    "pointing game": Test("share of images", True),
}


def randomized(
    model: keras.Model, images: np.ndarray, classes: np.ndarray, layer: str, maps: dict[str, np.ndarray], seed: int = 0
) -> dict[str, np.ndarray]:
    """{method: SSIM of each image's map with that of a network whose class scores are random, (n,)}: "randomization".

    maps: from `saliency.competing` with the same arguments; others in it, which know no class scores, are left out.
    seed: of the random weights, and of `competing`. Adebayo et al. 2018.
    """
    methods = tuple(method for method in maps if method in saliency.METHODS)
    forgetful = randomization.without_classes(model, seed)
    blind = saliency.competing(forgetful, images, classes, layer, seed, methods)
    return {method: randomization.ssim(maps[method], values) for method, values in blind.items()}


def of_the_unit(
    model: keras.Model,
    images: np.ndarray,
    occluded: occlusion.Occlusion,
    seed: int = 0,
    methods: tuple[str, ...] = saliency.METHODS,
) -> dict[str, np.ndarray]:
    """{method: how each image's map of a hidden unit agrees with what hiding does to it, (n,)}: "occlusion of the unit".

    occluded: from `occlusion.measure` of these images with unit=True; of several channels the first counts.
    The number is the rank correlation, over the places of the square, of the unit's fall with the energy of the map within the
    square; 0 for a map that is the same everywhere. Images in which hiding changes nothing are left out.
    The baselines are among the methods, within what the unit sees: a map of a unit is told that by the architecture alone.
    Grad-CAM is of the rectified convolution before the unit's layer, where there is one.
    """
    layer = occluded.layer
    way = graph.ancestors(model, [layer]) - {layer}
    below = [name for name in choosing.rectified_convolutions(model) if name in way]
    methods = tuple(method for method in methods if below or "Grad-CAM" not in method)
    target = targets.of_channels(model, images, layer, occluded.channel[:, 0])
    maps = saliency.competing(model, images, target, below[-1] if below else None, seed, methods)
    seen = _in_sight(receptive_field.of(model, layer), target.units, images.shape[:3])
    maps |= {name: values * seen for name, values in saliency.baselines(images, seed).items()}
    table = occlusion.agreement_of(maps, occluded).drop_duplicates(["image", "picture"])
    ranks = table.pivot(index="image", columns="picture", values="rank").dropna(how="all").fillna(0)
    return {method: ranks[method].to_numpy() for method in maps}


def _in_sight(field, units, shape):
    """Whether the unit of each image sees each pixel: bool, of this shape (n, height, width)."""
    if field.whole:
        return np.ones(shape, bool)
    seen = []
    for first, size, length in zip(field.first(np.stack([units.row, units.column], 1)).T, field.size, shape[1:], strict=True):
        away = np.arange(length) - first[:, None]
        seen.append((away >= 0) & (away < size))
    return seen[0][:, :, None] & seen[1][:, None, :]


def measure(values: dict[str, dict[str, np.ndarray]]) -> pd.DataFrame:
    """One row for each test and method that has a number there: test, method, value, low, high, verdict.

    values: {test: {method: a number an image, (n,)}}, the images of a test in one order; tests are those of TESTS. Booleans
    are a share of images. A test without images is left out.
    value, low, high: the mean over the images with its 95 % interval (Wilson's for a share, else Student's t).
    verdict: "passes", "fails", or "baseline".
    Raises ValueError for an unknown test, numbers that do not fit each other or are not finite, and a missing baseline.
    """
    rows = []
    for test, given in values.items():
        checks.known("test", test, TESTS)
        found = {method: np.asarray(each) for method, each in given.items()}
        _check(test, found)
        for method, each in found.items() if len(next(iter(found.values()))) else ():
            spread = statistics.share(each) if each.dtype == bool else statistics.mean(each)
            rows.append((test, method, *spread, _verdict(test, method, found)))
    return pd.DataFrame(rows, columns=["test", "method", "value", "low", "high", "verdict"])


def verdicts(table: pd.DataFrame) -> list[str]:
    """A sentence for each method: "Grad-CAM passes 4 of 5: fails deletion". table: from `measure`."""
    said = []
    for method, rows in table[table["verdict"] != "baseline"].groupby("method", sort=False):
        failed = rows.loc[rows["verdict"] == "fails", "test"].tolist()
        listed = " and ".join(part for part in (", ".join(failed[:-1]), *failed[-1:]) if part)
        said.append(f"{method} passes {len(rows) - len(failed)} of {len(rows)}{': fails ' * bool(failed)}{listed}")
    return said


def _check(test, found):
    """Raises ValueError unless the methods have finite numbers of the same images, and the baselines are among them."""
    missing = [name for name in saliency.BASELINES if name not in found] if TESTS[test].limit is None else []
    if missing or not found:
        raise ValueError(f"test {test!r} needs numbers of {', '.join(map(repr, missing)) or 'a method'}")
    shapes = {each.shape for each in found.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"test {test!r} needs one number an image, of the same images for each method, not shapes {shapes}")
    for method, each in found.items():
        if not np.isfinite(each).all():
            raise ValueError(f"test {test!r}: a number of {method!r} is NaN or infinite")


def _verdict(test, method, found):
    """found: {method: (n,)}."""
    if method in saliency.BASELINES:
        return "baseline"
    _, higher, limit = TESTS[test]
    others = [limit] if limit is not None else [found[name].astype(float) for name in saliency.BASELINES]
    differences = [(1 if higher else -1) * (found[method] - other) for other in others]
    return "passes" if all(statistics.mean(each)[1] > 0 for each in differences) else "fails"


def figure(table):
    """What `measure` found: a panel a test, a row a method, a dot the mean with its 95 % interval; lines are the baselines."""
    tests, judged = list(dict.fromkeys(table["test"])), table[table["verdict"] != "baseline"]
    methods = list(dict.fromkeys(judged["method"]))
    fig, axs = figures.panels(len(tests), 0.27 * len(methods) + 1.5)
    marks = {"passes": {"fmt": "o", "color": "C2"}, "fails": {"fmt": "X", "color": "C1", "markerfacecolor": "white"}}
    lines = dict(zip((*saliency.BASELINES, "limit"), ("--", ":", "-"), strict=True))
    shown = {}  # each kind of mark once, for the legend
    for ax, test in zip(axs, tests, strict=True):
        rows, (measured, higher, limit) = table[table["test"] == test], TESTS[test]
        for row in rows.to_dict("records"):
            if row["verdict"] == "baseline":
                name = row["method"]
                shown[name] = ax.axvline(row["value"], color="0.4", linestyle=lines[name], linewidth=1, zorder=0)
                continue
            spread = np.nan_to_num([[row["value"] - row["low"]], [row["high"] - row["value"]]]).clip(0)
            place = methods.index(row["method"])
            bar = ax.errorbar(row["value"], place, xerr=spread, markersize=6, capsize=2, **marks[row["verdict"]])
            shown[row["verdict"]] = bar
        if limit is not None:
            shown["limit"] = ax.axvline(limit, color="0.4", linestyle=lines["limit"], linewidth=1, zorder=0)
        ax.set_title(test)
        ax.set_xlabel(f"{measured}\n{'high' if higher else 'low'} is good", fontsize=8)
        ax.margins(x=0.1)
        ax.grid(axis="y", color="0.92")
    axs[0].set_yticks(range(len(methods)), methods)
    axs[0].set_ylim(len(methods) - 0.5, -0.5)
    for place, method in enumerate(methods):
        own = judged.loc[judged["method"] == method, "verdict"]
        axs[-1].text(
            1.06, place, f"{(own == 'passes').sum()} of {len(own)}",
            transform=axs[-1].get_yaxis_transform(), fontsize=8, va="center",
        )  # fmt: skip
    order = [name for name in (*marks, *lines) if name in shown]
    fig.legend([shown[name] for name in order], order, loc="outside upper center", ncols=len(order))
    said = "A method passes where it beats both baselines, image by image; or the limit, with its whole interval."
    return figures.captioned(fig, said)
