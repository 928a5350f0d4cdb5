import pytest

from deconvlib import data


@pytest.fixture(scope="session")
def digits():
    return data.load("digits")
