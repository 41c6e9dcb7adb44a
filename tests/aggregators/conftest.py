import pytest


@pytest.fixture(scope="module", autouse=True)
def both_ways(way):
    """Every rule keeps its promises by compiled kernels and by torch."""
