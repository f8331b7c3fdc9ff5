import pytest

from tests.helpers.fuzz import fuzz
from tests.helpers.upload_files import seeds

# pydicom and Pillow warn of the damage; outside of tests pydicom is told not to.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_damaged_uploads_are_refused_and_nothing_fails(app):
    outcome = fuzz(app, seeds(), iter(range(200)))
    assert outcome.faults == []
    assert {200, 415, 422} <= set(outcome.statuses)
    assert outcome.statuses.total() == 200


def test_a_failure_is_noticed(app, monkeypatch):
    def fail(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr("kidney.serving.inference.decode._files", fail)
    assert len(fuzz(app, seeds(), iter(range(3))).faults) == 3
