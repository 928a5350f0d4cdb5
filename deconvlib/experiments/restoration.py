"""Damage to images, and the classical methods against each: a trained decoder must beat them.

Images are float32 (n, height, width, channels) in [0, 1]. "Deconvolution" has a fourth, older meaning here: to find the
image behind a known blur (Wiener 1949, Richardson 1972, Lucy 1974).
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage
from scipy.signal import windows
from skimage import exposure, restoration

from deconvlib import figures, progress
from deconvlib.experiments import quality, statistics

HOLE = 4  # side in pixels of a missing square
BLUR_NOISE = 0.01  # standard deviation of the noise after a blur: without noise a blur can be undone exactly


@dataclass(frozen=True)
class Damage:
    """A way to damage images, and the methods against it.

    unit: of the strength, in words; strength: the one to train for; strengths: from weak to strong, that one third. apply:
    apply(images, strength, rng) -> images, with `scale` times smaller sides. methods: {name: (method, settings)};
    method(image, strength, setting) -> image takes and returns one (height, width, channels).
    """

    unit: str
    strength: float
    strengths: tuple[float, ...]
    apply: Callable
    methods: dict
    scale: int = 1

    def __call__(self, images: np.ndarray, rng: np.random.Generator, strength: float | None = None) -> np.ndarray:
        """The damaged images, rounded to 8 bits as in a file. strength: None: the one to train for."""
        damaged = self.apply(images, self.strength if strength is None else strength, rng)
        return np.round(np.clip(damaged, 0, 1) * 255).astype(np.float32) / np.float32(255)

    def enlarged(self, damaged: np.ndarray) -> np.ndarray:
        """Damaged images in the size of the originals: each pixel `scale` × `scale` times."""
        return damaged.repeat(self.scale, axis=1).repeat(self.scale, axis=2)

    def remedies(self, clean: np.ndarray, seed: int = 0) -> dict[str, Callable]:
        """{method: function(damaged, strength=None) -> restored}: "damaged", which does nothing, and each method `tuned`."""
        untouched = {"damaged": lambda images, strength=None: self.enlarged(images)}
        return untouched | {name: self.tuned(name, clean, seed) for name in self.methods}

    def tuned(self, name: str, clean: np.ndarray, seed: int = 0) -> Callable:
        """A function (damaged, strength=None) -> restored: method `name` with the setting that is best for `clean`.

        Best is the highest mean PSNR at the strength to train for; other strengths keep that setting. clean: training
        images, not test images.
        """
        method, settings = self.methods[name]
        damaged = self(clean, np.random.default_rng(seed))
        restored = {setting: _each(method, damaged, self.strength, setting) for setting in settings}
        best = max(settings, key=lambda setting: quality.of_images(restored[setting], clean)["PSNR"].mean())
        return lambda damaged, strength=None: _each(method, damaged, self.strength if strength is None else strength, best)


def _each(method, images, strength, setting):
    restored = np.stack([method(image, strength, setting) for image in progress.steps(images, "restoring", "image")])
    restored = restored[..., None] if restored.ndim == 3 else restored  # some methods drop the one channel of a grey image
    return np.clip(restored, 0, 1).astype(np.float32)


def _noise(images, strength, rng):
    return images + rng.normal(0, strength, images.shape)


def _blur(images, strength, rng):
    blurred = ndimage.gaussian_filter(images, (0, strength, strength, 0), mode="reflect")
    return _noise(blurred, BLUR_NOISE, rng)


def _holes(images, strength, rng):
    n, height, width, _ = images.shape
    rows, columns = -(-height // HOLE), -(-width // HOLE)
    missing = rng.random((n, rows * columns)).argsort(axis=1) < round(strength * rows * columns)
    missing = missing.reshape(n, rows, columns).repeat(HOLE, axis=1).repeat(HOLE, axis=2)[:, :height, :width]
    # only missing pixels are black
    return np.where(missing[..., None], 0, np.maximum(images, 1 / 255))


def _jpeg(images, strength, rng):
    damaged = np.empty_like(images)
    for index, image in enumerate(np.round(images * 255).astype(np.uint8)):
        file = io.BytesIO()
        Image.fromarray(image if image.shape[2] == 3 else image[..., 0]).save(file, "JPEG", quality=round(strength))
        damaged[index] = np.asarray(Image.open(file), np.float32).reshape(image.shape) / 255
    return damaged


def _smaller(images, strength, rng):
    n, height, width, channels = images.shape
    step = round(strength)
    return images.reshape(n, height // step, step, width // step, step, channels).mean(axis=(2, 4))


def _paler(images, strength, rng):
    level = rng.uniform(strength / 2, 1 - strength / 2, (len(images), 1, 1, 1))
    return level + strength * (images - 0.5)


def _non_local_means(image, strength, setting):
    sizes = {"patch_size": 5, "patch_distance": 6}
    return restoration.denoise_nl_means(image, **sizes, h=setting * strength, sigma=strength, channel_axis=-1)


def _with_border(method):
    """The method on an image with a reflected border: it takes the outside for black, or for the opposite side."""

    def apply(image, strength, setting):
        border = min(12, *(side - 1 for side in image.shape[:2]))
        wide = np.pad(image, ((border, border), (border, border), (0, 0)), mode="reflect")
        window = windows.gaussian(2 * int(4 * strength + 0.5) + 1, strength)  # as wide as SciPy's filter
        spread = np.outer(window, window) / window.sum() ** 2  # the blur of a single point
        restored = [method(channel, spread, setting) for channel in np.moveaxis(wide, 2, 0)]
        return np.stack(restored, axis=2)[border:-border, border:-border]

    return apply


def _biharmonic(image, strength, setting):
    return restoration.inpaint_biharmonic(image, (image == 0).all(axis=2), channel_axis=-1)


def _bicubic(image, strength, setting):
    size = tuple(side * round(strength) for side in image.shape[1::-1])
    channels = [Image.fromarray(channel).resize(size, Image.Resampling.BICUBIC) for channel in np.moveaxis(image, 2, 0)]
    return np.stack([np.asarray(channel) for channel in channels], axis=2)


def _stretched(image, strength, setting):
    low, high = np.percentile(image, (setting, 100 - setting))
    return exposure.rescale_intensity(image, (low, max(high, low + 1e-3)), (0, 1))


def _total_variation(image, strength, setting):
    return restoration.denoise_tv_chambolle(image, setting, channel_axis=-1)


_NOISE = {"non-local means": (_non_local_means, (0.4, 0.6, 0.8, 1.0))}
_BLUR = {
    "Wiener": (_with_border(restoration.wiener), (0.001, 0.003, 0.01, 0.03)),
    "Richardson–Lucy": (_with_border(restoration.richardson_lucy), (10, 20, 40)),
}
_JPEG = {"total variation": (_total_variation, (0.01, 0.02, 0.04, 0.08, 0.16))}
_CONTRAST = {
    "percentiles stretched": (_stretched, (0, 1, 3)),
    "local histograms": (lambda image, _, limit: exposure.equalize_adapthist(image, clip_limit=limit), (0.003, 0.01, 0.03)),
}
DAMAGES = {
    "noise": Damage("standard deviation", 0.1, (0.03, 0.06, 0.1, 0.15, 0.2), _noise, _NOISE),
    "blur": Damage("standard deviation, pixels", 1.0, (0.5, 0.75, 1.0, 1.5, 2.0), _blur, _BLUR),
    "holes": Damage("share missing", 0.25, (0.08, 0.15, 0.25, 0.4, 0.55), _holes, {"biharmonic": (_biharmonic, (None,))}),
    "JPEG": Damage("quality", 10, (30, 20, 10, 7, 5), _jpeg, _JPEG),
    "half size": Damage("times smaller", 2, (2,), _smaller, {"bicubic": (_bicubic, (None,))}, scale=2),
    "low contrast": Damage("contrast left", 0.3, (0.8, 0.5, 0.3, 0.2, 0.15), _paler, _CONTRAST),
}

MEASURES = {"accuracy": "right", "PSNR": "psnr"}  # of `over_strengths`: the mean, and the values of the images


def table(scores: dict) -> pd.DataFrame:
    """Mean PSNR and SSIM with their 95 % intervals, as text: a row for each (damage, method).

    scores: {(damage, method): the images' quality, from `quality.of_images`}.
    """
    rows = {}
    for key, score in scores.items():
        psnr, ssim = (statistics.interval(score[measure]) for measure in ("PSNR", "SSIM"))
        rows[key] = {"PSNR, dB": f"{psnr[0]:.2f} ± {psnr[1]:.2f}", "SSIM": f"{ssim[0]:.3f} ± {ssim[1]:.3f}"}
    found = pd.DataFrame.from_dict(rows, orient="index")
    found.index = pd.MultiIndex.from_tuples(rows, names=["damage", "method"])
    return found


def gains(scores: dict) -> pd.DataFrame:
    """How much each decoder gains over the best classical method for its damage, image by image: a row a decoder.

    scores: as for `table`; the decoders' methods begin with "decoder". Columns: damage, decoder, best (the classical method
    of the highest mean PSNR), gain (mean difference in dB), half (of its 95 % t interval), verdict.
    """
    rows = []
    for damage, method in scores:
        if method.startswith("decoder"):
            psnr = {name: scores[damage, name]["PSNR"] for name in (method, *DAMAGES[damage].methods)}
            rows.append({"damage": damage, "decoder": method} | _against_the_best(psnr, method))
    return pd.DataFrame(rows)


def _against_the_best(values, method):
    """The method against the best of the others: values are {method: one for each image}."""
    best = max((name for name in values if name != method), key=lambda name: np.mean(values[name]))
    gain, half = statistics.interval(np.subtract(values[method], values[best], dtype=float))
    verdict = "better than" if gain > half else "worse than" if gain < -half else "not shown to differ from"
    return {"best": best, "gain": gain, "half": half, "verdict": verdict}


def gains_figure(table):
    """The `gains` as points with their 95 % intervals: right of the line the decoder is better."""
    fig, ax = figures.one(0.8 + 0.24 * len(table))
    places = np.arange(len(table))[::-1]
    ax.errorbar(table["gain"], places, xerr=table["half"], fmt="o", markersize=4, capsize=2)
    ax.axvline(0, color="0.6", linewidth=1)
    ax.set_yticks(places, [f"{row.damage}: {row.decoder} over {row.best}" for row in table.itertuples()])
    ax.set(xlabel="gain in PSNR, dB: right of the line the decoder is better", ylim=(-0.6, len(table) - 0.4))
    return fig


def over_strengths(damage: Damage, methods: dict, images: np.ndarray, right: Callable, seed: int = 0) -> pd.DataFrame:
    """What is left of images, damaged more and more strongly, after each method: a row for each strength and method.

    methods: {name: function(damaged, strength) -> restored}. right: right(images) -> whether a classifier is right, (n,).
    Columns: strength, method, right and psnr (an entry for each image), accuracy and PSNR (their means). The first row is of
    the images as they are.
    """
    rows = [{"strength": np.nan, "method": "clean", "right": right(images), "psnr": np.full(len(images), np.nan)}]
    for strength in progress.steps(damage.strengths, "restoring", "strength"):
        damaged = damage(images, np.random.default_rng(seed), strength)
        for name, method in methods.items():
            restored = method(damaged, strength)
            psnr = quality.of_images(restored, images)["PSNR"].to_numpy()
            rows.append({"strength": strength, "method": name, "right": right(restored), "psnr": psnr})
    found = pd.DataFrame(rows)
    return found.assign(accuracy=found["right"].map(np.mean), PSNR=found["psnr"].map(np.mean))


def verdicts(table: pd.DataFrame, method: str = "decoder") -> pd.DataFrame:
    """Whether `method` is better than the best of the others, at each strength; table: from `over_strengths`.

    A row a strength; columns accuracy and PSNR, in words; by 95 % t intervals of the differences, image by image.
    """
    rows = {}
    for strength, group in table.dropna(subset="strength").groupby("strength"):
        by = group.set_index("method")
        found = {measure: _against_the_best(by[column].to_dict(), method) for measure, column in MEASURES.items()}
        rows[strength] = {measure: f"{one['verdict']} {one['best']}" for measure, one in found.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("strength")


def figure(table, label):
    """Accuracy and PSNR by the strength of a damage, a line a method. table: from `over_strengths`.

    A method without a strength, such as none on clean images, is a dashed line.
    """
    fig, axs = figures.panels(2, 2.8, sharey=False)
    for ax, measure, unit in zip(axs, ("accuracy", "PSNR"), ("accuracy", "PSNR, dB"), strict=True):
        for index, (method, rows) in enumerate(table.groupby("method", sort=False)):
            if rows["strength"].notna().any():
                ax.plot(rows["strength"], rows[measure], "-o", markersize=3, color=f"C{index}", label=method)
            elif np.isfinite(level := rows[measure].iloc[0]):
                ax.axhline(level, linestyle="--", color="0.4", label=method)
        ax.set(xlabel=label, ylabel=unit)
    fig.legend(*axs[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return fig
