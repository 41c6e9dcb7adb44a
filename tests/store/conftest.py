import postgres
import pytest


@pytest.fixture(scope="session")
def server():
    with postgres.server() as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request, tmp_path):
    if request.param == "sqlite":
        return tmp_path / "results.db"
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    return request.getfixturevalue("server").new_database(name)
