"""Every notebook's panels in JupyterLab."""

import os
import re

import pytest
import scenarios


@pytest.fixture
def panel(in_lab):
    """panel(stem, number): the panel of that number in that notebook, opened once."""
    return scenarios.panels(in_lab, os.environ.get("SCREENSHOTS"))


@pytest.mark.parametrize("scenario", [one for one in scenarios.ALL if one is not scenarios.train], ids=lambda one: one.__name__)
def test_in_lab(scenario, panel):
    scenario(panel)


def test_train_and_close_the_tab(panel, lab):
    scenarios.train(panel)
    train = panel("03_training", 1)
    train.box.get_by_role("button", name="Start").click()
    train.says(re.compile("about .* left"))
    page, (port, token) = train.page, lab
    page.goto("about:blank")
    page.goto(f"http://127.0.0.1:{port}/lab/tree/03_training.ipynb?token={token}")
    page.get_by_text(re.compile(r"Python 3 \(ipykernel\) \| Idle")).wait_for(timeout=300_000)
    page.locator(".jp-Notebook .jp-CodeCell").last.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.type("trainer.stop(); print('stopped:', trainer.wait(), trainer.runs, trainer.model.count_params() > 0)")
    page.keyboard.press("Shift+Enter")
    page.locator(".jp-OutputArea-output", has_text="stopped: True 3 True").wait_for(timeout=300_000)
