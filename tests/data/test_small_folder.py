"""A folder of thirty photographs of several sizes: every notebook's data cell loads it."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import photographs as twelve
import pytest
from PIL import Image, ImageOps

from deconvlib import data

FITTED = {"crop": ImageOps.fit, "squeeze": Image.Image.resize}
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for name, count in (("bird", 12), ("cat", 10), ("dog", 8)):
        (folder / name).mkdir()
        for number in range(count):
            pixels = rng.integers(256, size=(*rng.integers(20, 60, 2), 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg")
    return folder


def data_cells():
    """(its parameters, the statements that make its data set) of each notebook that loads one."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
        parameters = next(cell for cell in cells if "parameters" in cell["metadata"].get("tags", []))
        code = ["".join(cell["source"]) for cell in cells]
        body = next((text for text in code if re.search(r"= data\.load\([^)]*dataset_name", text)), None)
        if body:
            made = [line for line in ast.parse(body).body if ast.unparse(line).startswith(("dataset = ", "everything = "))]
            yield pytest.param("".join(parameters["source"]), ast.Module(made, []), id=path.stem)


@pytest.mark.parametrize(("parameters", "body"), list(data_cells()))
def test_a_notebook_loads_it(photographs, capsys, parameters, body):
    values = {"data": data}
    exec(parameters, values)
    values |= {"dataset_name": str(photographs)}
    if not values["image_size"]:
        with pytest.raises(ValueError, match=r"differ in size.*the notebook's parameter image_size"):
            exec(compile(body, "cell", "exec"), dict(values))
    for image_size in (16, [16, 12]):
        values["image_size"] = image_size
        exec(compile(body, "cell", "exec"), values)
        assert values["dataset"].num_classes == 3 and len(values["dataset"].x_train) == 24
        assert values["dataset"].image_shape[:2] == ((16, 16) if image_size == 16 else (16, 12))
    said = capsys.readouterr().out
    assert ("train_images" in values) == ("training images asked, all 24 taken" in said)
    assert ("test_images" in values) == ("test images asked, all 6 taken" in said)


def test_fewer_labels_than_asked_are_all_of_them(photographs, capsys):
    dataset = data.load(photographs, image_size=8)
    capsys.readouterr()
    few = dataset.take_per_class(8)
    said = "8 training images a class asked; fewer in 1 of 3 classes, down to 6 of 'dog': all of theirs are taken"
    assert np.bincount(few.y_train).tolist() == [8, 8, 6] and capsys.readouterr().out == f"{dataset.name}: {said}\n"
    assert len(dataset.take_per_class(6).y_train) == 18 and capsys.readouterr().out == ""


@pytest.mark.parametrize("fitting", FITTED)
def test_twelve_photographs_in_as_many_forms_look_as_they_do_to_a_person(tmp_path, capsys, fitting):
    seen = twelve.write(tmp_path / "photos")
    with pytest.raises(ValueError, match=f"photos: {twelve.CORRUPT} is not a readable image"):
        data.load(tmp_path / "photos", image_size=48, fitting=fitting)
    (tmp_path / "photos" / twelve.CORRUPT).unlink()
    found = data.sample(tmp_path / "photos", (48, 64, 3), 12, fitting=fitting)
    assert found.source == tuple(sorted(seen)) and found.class_names == ("object", "surface")
    for name, image in zip(found.source, found.images, strict=True):
        expected = FITTED[fitting](Image.fromarray(seen[name]), (64, 48), Image.Resampling.LANCZOS)
        # measured: 2.8 of the GIF's 256 colours, 0.8 of JPEG, else 0
        assert np.abs(image.astype(int) - expected).mean() < (6 if name.endswith((".gif", "palette.png")) else 2), name
    dataset = data.load(tmp_path / "photos", image_size=(48, 64), fitting=fitting)
    assert dataset.class_counts().tolist() == [4, 4] and np.bincount(dataset.y_test).tolist() == [2, 1]
    both = [np.concatenate([dataset.x_train, dataset.x_test]), found.images]
    assert np.array_equal(*(np.sort(images.reshape(11, -1), axis=0) for images in both))
    done = {"crop": "cropped in the middle", "squeeze": "squeezed"}[fitting]
    fitted = f"fitting='{fitting}': 11 of 11 images are {done} to 48 × 64 pixels"
    assert capsys.readouterr().out == f"photos: 1 of 11 files hold several frames: the first is read; {fitted}\n" * 2
