"""The network that an earlier notebook left, or a small one in its place."""

from pathlib import Path

from deconvlib import networks
from deconvlib.backend import keras
from deconvlib.data.dataset import Dataset
from deconvlib.training.fit import fit


def network_of(run_dir: str | Path, dataset: Dataset, notebook: str, seed: int = 0) -> keras.Model:
    """The network that notebook 03 left in `run_dir`, where it fits the images and classes of `dataset`; else a small one.

    A line says which of the two it is. The small one is trained here, for two epochs of `dataset`. A killed training goes on
    from <run_dir>/<notebook>/backup. seed: of its weights, and of the order of the images.
    Raises ValueError where <run_dir>/classifier.keras cannot be read, or needs code that is not here.
    """
    path = Path(run_dir) / "classifier.keras"
    if path.exists():
        model = networks.load(path, image_size=dataset.image_shape[:2])
        if model.input_shape[1:] == dataset.image_shape and model.output_shape[-1] == dataset.num_classes:
            print(f"the network that notebook 03 left in {run_dir}")
            return model
    print(f"no network for {dataset.name} in {run_dir}: training a small one")
    model = networks.classifier(dataset.image_shape, dataset.num_classes, normalization="batch", dense_units=128, seed=seed)
    backup = Path(run_dir) / notebook / "backup"
    fit(model, dataset, epochs=2, learning_rate=2e-3, backup_dir=backup, verbose=False, seed=seed)
    return model
