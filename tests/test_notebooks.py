"""Every notebook keeps the house form, and runs with other parameters than its defaults."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from deconvlib import networks
from deconvlib.lab import run

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

# Not faster defaults: values that change what runs. A notebook without a line here fails.
OTHERS = {
    "01_data": {"dataset_name": "digits", "labels_per_class": "3", "imbalance": "10", "shift": "0", "seed": "1"},
    "02_model": {
        "image_shape": "[28, 28, 1]",
        "filters": "[8, 16]",
        "convolutions": "2",
        "activation": "tanh",
        "pooling": "average",
        "normalization": "batch",
        "decoder": "none",
        "dropout": "0.2",
    },
    "03_training": {
        "labels_per_class": "200",
        "imbalance": "2",
        "filters": "[8, 16, 32]",
        "activation": "leaky_relu",
        "decoder": "transposed",
        "optimizer": "rmsprop",
        "learning_rate": "1e-3",
        "schedule": "constant",
        "class_weight": "balanced",
        "flip": "false",
        "l2": "1e-5",
        "epochs": "6",
        "tutorial_epochs": "1",
    },
    "04_deconvolution": {"dataset_name": "digits", "channels": "2", "top": "4", "searched": "100", "layers": "['relu2']"},
    "05_understanding": {
        "dataset_name": "digits",
        "train_images": "300",
        "test_images": "150",
        "filters": "[8, 16]",
        "epochs": "4",
        "learning_rate": "1e-2",
        "snapshots": "[1]",
        "channels": "2",
        "moved": "2",
        "occluded": "6",
        "square": "3",
        "stride": "1",
        "fill": "blur",
        "part_class": "0",
        "aligned": "3",
        "coarse_kernel": "5",
        "coarse_stride": "2",
        "judged": "12",
        "seed": "1",
    },
    "06_accuracy": {
        "dataset_name": "digits",
        "labels_per_class": "0",
        "imbalance": "4",
        "variants": "['wide branch', 'branch, unlabelled', 'branch, all stages', 'balanced weights', 'sub-pixel']",
        "repeats": "1",
        "filters": "[8, 8, 12]",
        "epochs": "2",
        "images_per_epoch": "1000",
        "batch_size": "20",
        "learning_rate": "1e-2",
        "learning_rates": "{'balanced weights': 3e-3}",
        "held_out": "0.3",
        "test_images": "50",
        "tables": ".",
        "seed": "1",
    },
    "07_restoration": {
        "dataset_name": "digits",
        "train_images": "200",
        "test_images": "40",
        "damages": "[]",
        "no_skips": "['JPEG', 'low contrast']",
        "judged": "JPEG",
        "decoder": "subpixel",
        "filters": "[4, [8, 8]]",
        "epochs": "8",
        "epochs_of": "{'holes': 9}",
        "turned": "True",
        "code": "5",
        "divergence_weight": "0.1",
        "generator_filters": "[8, 4]",
        "generator_epochs": "2",
        "scenes": "150",
        "scene_side": "16",
        "objects": "1",
        "segment_filters": "[4, [8, 8]]",
        "segment_normalization": "deconvolution_and_batch",
        "segment_epochs": "3",
        "segment_batch_size": "20",
        "segment_learning_rate": "2e-3",
        "batch_size": "20",
        "learning_rate": "1e-2",
        "precision": "mixed_bfloat16",
        "seed": "1",
    },
    "08_operators": {
        "dataset_name": "digits",
        "train_images": "200",
        "test_images": "60",
        "kernels": "[1, 3]",
        "strides": "[3]",
        "filters": "20",
        "epochs": "1",
        "sizes": "[4]",
        "channels": "4",
        "repeats": "1",
        "activations": "['elu']",
        "depth": "3",
        "width": "4",
        "initial_weights": "2",
        "trained": "['transposed', 'network deconvolution']",
        "few_images": "60",
        "class_filters": "[4, 8]",
        "class_epochs": "1",
        "images_per_epoch": "120",
        "seed": "1",
    },
    "09_your_model": {
        "images": "digits",
        "number": "100",
        "layers": "['relu2']",
        "channels": "2",
        "top": "2",
        "examined": "2",
        "compared": "3",
        "square": "3",
        "stride": "2",
        "depths": "3",
        "seed": "1",
    },
}


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_reads_well(path):
    notebook = nbformat.read(path, as_version=4)
    cells, code = notebook.cells, code_cells(path)
    assert re.match(r"# \w+", cells[0].source)
    for part in ("What you'll do", "What you'll learn", "What you'll need", "deconv"):
        assert part in cells[0].source, part
    for part in ("## On your own", "## In practice", "## Further reading"):
        assert part in cells[-1].source, part
    assert "parameters" in code[0].metadata.tags
    assert all("#" in line for line in code[0].source.splitlines()), "a parameter without its comment"
    assert len(cells) <= 38 and max(len(cell.source.splitlines()) for cell in code[1:]) <= 25
    assert f'panels.check()\nrecord.save(run_dir, "{path.stem}"' in code[-1].source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_those_of_one_clean_run(path):
    code, text = code_cells(path), path.read_text(encoding="utf-8")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"
    assert path.stat().st_size < 1_000_000
    assert not re.search(r"(?<![\w+/])0x[0-9a-f]{6,}", text), "an address in memory"  # a picture's letters may look like one
    for cell in code:
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr"
            printed = output.get("text", "") + output.get("data", {}).get("text/plain", "")
            assert not re.search(r"/(home|root|tmp|work|Users)/", printed), "a path of a machine"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_cell_that_is_not_compared_says_why(path):
    for cell in code_cells(path):
        exempt = [tag for tag in cell.metadata.get("tags", []) if tag.startswith("nbval")]
        assert not exempt or (exempt == ["nbval-ignore-output"] and cell.source.startswith("# not compared: "))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_with_other_parameters(path, tmp_path, capfd):
    assert run.run([path.stem], overrides=OTHERS[path.stem], out=tmp_path, folder=FOLDER) == 0, capfd.readouterr().out
    assert (tmp_path / path.stem / "metrics.json").exists()


HOSTILE = ("<img src=x onerror=alert(1)>", "$\\frac{$ & <b>")


@pytest.fixture
def hostile(tmp_path):
    """A folder of two classes of images, grey and coloured, of several sizes, whose names are HTML and half a formula."""
    rng = np.random.default_rng(0)
    for name in HOSTILE:
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(4):
            shape = (30 + number, 26, 3) if number % 2 else (30, 26)
            Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(tmp_path / "images" / name / f"{number}<i>.png")
    return tmp_path / "images"


SMALL = {"number": "6", "channels": "2", "top": "2", "examined": "1", "compared": "1", "depths": "2"}


def test_the_audit_escapes_what_comes_from_outside(hostile, tmp_path, capfd):
    networks.classifier((24, 20, 3), 2, filters=(4, 8), decoder="transposed").save(tmp_path / "own.keras")
    given = SMALL | {"model_path": str(tmp_path / "own.keras"), "images": str(hostile)}
    assert run.run(["09"], overrides=given, out=tmp_path / "out", folder=FOLDER) == 0, capfd.readouterr().out
    for page in ("09_your_model.html", "index.html"):
        text = (tmp_path / "out" / page).read_text(encoding="utf-8")
        assert "<img src=x" not in text and "<b>" not in text and "<i>.png" not in text
    assert "&lt;img src=x" in (tmp_path / "out" / "09_your_model.html").read_text(encoding="utf-8"), "it shows no class name"


def test_the_audit_takes_a_fresh_mobilenet(hostile, tmp_path, capfd):
    """At 224 × 224, with 1000 classes where the images have two."""
    given = SMALL | {"model_path": "MobileNetV2", "images": str(hostile), "square": "112", "stride": "112"}
    assert run.run(["09"], overrides=given, out=tmp_path, folder=FOLDER) == 0, capfd.readouterr().out
    page = (tmp_path / "09_your_model.html").read_text(encoding="utf-8")
    assert "36 of 36 nonlinearities are covered" in page and "their labels are left aside" in page


def test_the_same_decoder_segments_images_of_the_users_own(tmp_path, capfd):
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for index in range(20):
        mask = np.zeros((16, 20), np.uint8)
        mask[rng.integers(8) :, rng.integers(10) :] = 255
        Image.fromarray(np.where(mask[..., None], 200, 40).astype(np.uint8).repeat(3, axis=2)).save(
            tmp_path / f"images/{index}.jpg"
        )
        Image.fromarray(mask).save(tmp_path / f"masks/{index}.png")
    given = OTHERS["07_restoration"] | {"damages": "['noise']", "no_skips": "['noise']", "judged": "noise"}
    given |= {"masks_dir": str(tmp_path), "segment_epochs": "8", "turned": "False"}
    assert run.run(["07"], overrides=given, out=tmp_path / "out", folder=FOLDER) == 0, capfd.readouterr().out
    assert "255" in (tmp_path / "out" / "07_restoration.html").read_text(encoding="utf-8")
