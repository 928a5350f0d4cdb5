"""JupyterLab on a free port, and Chromium in front of it."""

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from parameters import CHROMIUM, OTHERS

ROOT = Path(__file__).parents[2]
QUIET = ("no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-sync")

# What a study may leave: two regimes, a run of each.
TABLE = """\
regime,seed,status,plain: balanced accuracy,plain: seconds,plain: curve,wide: balanced accuracy,wide: seconds,wide: curve
few labels,0,done,0.4,9,"[0.2, 0.4]",0.3,10,"[0.1, 0.3]"
long tail,0,done,0.5,9,"[0.3, 0.5]",0.6,10,"[0.2, 0.6]"
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A copy of the notebooks, with other parameters and without outputs."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "tables" / "accuracy_all").mkdir(parents=True)
    (folder / "tables" / "accuracy_all" / "metrics.csv").write_text(TABLE)
    places = {stem: {"run_dir": "run"} for stem in OTHERS} | {"07_accuracy": {"run_dir": "run", "tables": "tables"}}
    # 01 of what it says before notebook 03 has run, 09 of a network that has the layers asked for
    places["01_data"] = places["14_your_model"] = {"run_dir": "untrained"}
    for stem, where in places.items():
        # pictures for readers are those of the notebooks as they are
        values = where if os.environ.get("SCREENSHOTS") else OTHERS[stem] | where
        notebook = nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        for cell in code:
            cell.outputs, cell.execution_count = [], None
        code[0].source += "".join(f"\n{name} = {value!r}" for name, value in values.items())
        nbformat.write(notebook, folder / f"{stem}.ipynb")
    return folder


def served(folder, *command):
    """(port, token) of a server on a free port, which is ended afterwards. command: with {port} and {token}."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    names = ("CONFIG_DIR", "RUNTIME_DIR", "LAB_SETTINGS_DIR", "LAB_WORKSPACES_DIR")
    places = {f"JUPYTER{'' if name.startswith('LAB') else '_'}{name}": str(folder / f".{name}") for name in names}
    environment = os.environ | places | {"IPYTHONDIR": str(folder / ".ipython"), "TQDM_DISABLE": "1"}
    environment.pop("PYTEST_CURRENT_TEST", None)  # else ipykernel captures what C code prints
    command = [sys.executable, "-m", *(part.format(port=port, token=token) for part in command)]
    log = folder / f"{command[2]}.log"
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        for _ in range(3000):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/?token={token}", timeout=60).read()
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                time.sleep(0.1)
        yield port, token
    finally:
        server.terminate()
        server.wait(120)


@pytest.fixture(scope="session")
def lab(folder):
    """(port, token) of a JupyterLab that shows all cells of a notebook at once, and no news."""
    settings = {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"windowingMode": "none"},
    }
    for name, values in settings.items():
        path = folder / ".LAB_SETTINGS_DIR" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    options = ("--ServerApp.ip=127.0.0.1", "--ServerApp.port={port}", "--ServerApp.port_retries=0", "--allow-root")
    yield from served(folder, "jupyterlab", "--no-browser", *options, "--IdentityProvider.token={token}")


@pytest.fixture(scope="session")
def app(folder):
    """(port, token) of Voilà over the same notebooks."""
    options = ("--Voila.ip=127.0.0.1", "--Voila.port={port}", "--Voila.port_retries=0", "--Voila.token={token}")
    yield from served(folder, "voila", "--no-browser", *options)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("no Chromium is installed")
    with api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("chromium")), executable_path=CHROMIUM, headless=True,
            args=[f"--{flag}" for flag in QUIET], viewport={"width": 1280, "height": 1000},
        )  # fmt: skip
        context.route("**/*", lambda route: route.continue_() if "//127.0.0.1" in route.request.url else route.abort())
        yield context
        context.close()


def own_error(message):
    # Voilà asks a public server for a font of icons, which is refused here. The pictures in texts are the project's
    # reports, which do not lie beside this copy of the notebooks
    url = message.location["url"]
    return message.type == "error" and "//127.0.0.1" in url and "/reports/" not in url


@pytest.fixture
def page(chromium):
    """A page whose console and scripts must report no error."""
    page, errors = chromium.new_page(), []
    page.set_default_timeout(120_000)
    page.on("console", lambda message: errors.append(message.text) if own_error(message) else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert not errors, errors


@pytest.fixture
def in_lab(lab, page):
    """in_lab(stem): the page, with every cell of that notebook run in JupyterLab."""
    port, token = lab

    def opened(stem):
        page.goto(f"http://127.0.0.1:{port}/lab/tree/{stem}.ipynb?reset&token={token}")
        page.get_by_text(re.compile(r"Python 3 \(ipykernel\) \| Idle")).wait_for(timeout=300_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        prompt = page.locator(".jp-Notebook .jp-CodeCell").last.locator(".jp-InputPrompt")
        wrong = page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']")
        for _ in range(18_000):  # a limit is for what hangs, not for what is slow
            if wrong.count() or re.search(r"\[\d+\]", prompt.inner_text()):
                break
            page.wait_for_timeout(100)
        assert not wrong.count(), wrong.first.inner_text()
        return page

    yield opened
    address = f"http://127.0.0.1:{port}/api/sessions{{}}?token={token}"
    for session in json.load(urllib.request.urlopen(address.format(""))):
        urllib.request.urlopen(urllib.request.Request(address.format(f"/{session['id']}"), method="DELETE"))


@pytest.fixture
def as_app(app, page):
    """as_app(stem): the page, with that notebook as an app under Voilà."""
    port, token = app

    def opened(stem):
        page.goto(f"http://127.0.0.1:{port}/voila/render/{stem}.ipynb?token={token}", timeout=600_000)
        page.get_by_role("heading", name="On your own").wait_for(timeout=300_000)
        return page

    return opened
