from itertools import count

import pytest

from kidney.tracking.runs import Tracking

_numbers = count()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Making a store takes seconds, so the tests of a process share one."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def tracking(store: str) -> Tracking:
    """An experiment of the test's own."""
    return Tracking(store, f"experiment-{next(_numbers)}")
