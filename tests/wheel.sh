#!/usr/bin/env bash
# What a user installs: the built wheel in an empty environment, by itself, with the extra cpu, then with lab and the notebooks.
# Usage: bash tests/wheel.sh .venv/bin, the folder of a Python and of uv.
set -euo pipefail
bin=$(realpath "$1")
cd "$(dirname "$0")/.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
unset PYTHONPATH KERAS_BACKEND
python="$place/env/bin/python"
install() { "$bin/uv" pip install -q --system-certs --python "$python" -c requirements.txt "$@"; }
as_user() { (cd "$place/user" && "$python" "$@"); }
refused() { ! said=$(as_user "$@" 2>&1) && tail -n 1 <<<"$said" | grep "pip install 'deconvlib\["; }

mkdir "$place/source" "$place/user"
cp -r pyproject.toml README.md LICENSE deconvlib "$place/source"  # setuptools leaves what it builds beside it
"$bin/uv" build -q --system-certs --wheel --out-dir "$place" "$place/source"
wheel=$(echo "$place"/deconvlib-*.whl)
"$bin/uv" venv -q --python "$bin/python" "$place/env"

install "$wheel"
refused -c "import deconvlib.backend"
refused -m deconvlib run

install "$wheel[cpu]"
as_user - <<'PYTHON'
import importlib.util
import shutil
from pathlib import Path

import skimage

for name in ("IPython", "ipykernel", "ipywidgets", "jupyter_client", "matplotlib_inline", "nbformat", "papermill", "traitlets"):
    assert importlib.util.find_spec(name) is None, f"{name} is installed without the extra lab"
Path("photos").mkdir()
for name in ("astronaut", "camera", "chelsea", "coffee", "coins", "gravel", "ihc", "moon", "motorcycle_left", "rocket"):
    (file,) = (Path(skimage.__file__).parent / "data").glob(f"{name}.[jp]*g")
    shutil.copy(file, "photos")

from deconvlib import data, deconvnet, networks

model = networks.load("VGG16", weights=None)
photos = data.sample("photos/", model.input_shape[1:], 400).images
units = deconvnet.strongest(model, photos, "block3_conv3")
found = deconvnet.project_units(model, photos, "block3_conv3", units[:6])
deconvnet.gallery(found).savefig("gallery.png")

assert abs(found.projections).max() > 0
print(f"the wheel with the extra cpu, without Jupyter: {found.projections.shape} projections of {len(photos)} photographs")
PYTHON

install "$wheel[lab]"
cp -r notebooks "$place/user"
as_user -m deconvlib run 02
test -s "$place/user/reports/quick/02_model/metrics.json"
