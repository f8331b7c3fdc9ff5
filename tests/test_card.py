import dataclasses
import json

import pytest

from kidney.card import METADATA_KEY, from_metadata, to_metadata
from kidney.errors import ArtifactError
from tests.tiny_model import CARD


def test_a_card_survives_the_journey():
    card = dataclasses.replace(CARD, metrics={"split": "scan", "auroc": {"value": 0.9}})
    assert from_metadata(to_metadata(card)) == card


def test_a_file_without_a_card_is_refused():
    with pytest.raises(ArtifactError, match="model card") as refusal:
        from_metadata({"author": "someone"})
    assert "author" in refusal.value.problem
    assert "export.py" in refusal.value.remedy


def test_a_card_of_another_schema_is_refused():
    fields = json.loads(to_metadata(CARD)[METADATA_KEY])
    with pytest.raises(ArtifactError, match="schema 2, but got 3"):
        from_metadata({METADATA_KEY: json.dumps({**fields, "schema": 3})})


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema": 2}', '{"schema": 2, "x": 2}'])
def test_a_broken_card_is_refused(text):
    with pytest.raises(ArtifactError):
        from_metadata({METADATA_KEY: text})


def test_a_card_with_an_unknown_field_is_refused():
    fields = json.loads(to_metadata(CARD)[METADATA_KEY])
    with pytest.raises(ArtifactError, match="mood"):
        from_metadata({METADATA_KEY: json.dumps({**fields, "mood": "good"})})
