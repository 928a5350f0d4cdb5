"""Every notebook as an app under Voilà: the same panels, without code."""

import pytest
import scenarios


@pytest.mark.parametrize("scenario", scenarios.ALL, ids=lambda one: one.__name__)
def test_as_app(scenario, as_app):
    scenario(scenarios.panels(as_app))
