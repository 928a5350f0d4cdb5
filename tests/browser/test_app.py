"""Notebooks as apps under Voilà: the same panels, without code. What JupyterLab's tests show of each is not shown again."""

import pytest
import scenarios


@pytest.mark.parametrize("scenario", (scenarios.train, scenarios.explore_features), ids=lambda one: one.__name__)
def test_as_app(scenario, as_app, page):
    scenario(scenarios.panels(as_app))
    if scenario is scenarios.explore_features:
        assert page.locator("mjx-container").count(), "Voilà draws no formula without a network"
