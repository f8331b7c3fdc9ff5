import dataclasses
import json

import pytest

from kidney.artifact.card import METADATA_KEY, from_metadata, to_metadata
from kidney.errors import ArtifactError
from tests.helpers.tiny_model import CARD


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
    with pytest.raises(ArtifactError, match="schema 5, but got 3") as refusal:
        from_metadata({METADATA_KEY: json.dumps({**fields, "schema": 3})})
    assert "Export the model again" in refusal.value.remedy


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema": 5}', '{"schema": 5, "x": 2}'])
def test_a_broken_card_is_refused(text):
    with pytest.raises(ArtifactError):
        from_metadata({METADATA_KEY: text})


def test_a_card_with_an_unknown_field_is_refused():
    fields = json.loads(to_metadata(CARD)[METADATA_KEY])
    with pytest.raises(ArtifactError, match="mood"):
        from_metadata({METADATA_KEY: json.dumps({**fields, "mood": "good"})})


def test_the_rules_come_back_whole():
    rules = dataclasses.replace(CARD.rules, ood_above=1.5)
    card = from_metadata(to_metadata(dataclasses.replace(CARD, rules=rules)))
    assert card.rules == rules


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"suspect_from": {"cyst": 0.5, "tumor": 0.5}}, "stone"),
        ({"suspect_from": {"normal": 0.5, "cyst": 0.5, "tumor": 0.5, "stone": 0.5}}, "normal"),
        ({"mood": "good"}, "mood"),
    ],
)
def test_rules_that_do_not_fit_the_classes_are_refused(change, said):
    fields = json.loads(to_metadata(CARD)[METADATA_KEY])
    fields["rules"] |= change
    with pytest.raises(ArtifactError, match=said):
        from_metadata({METADATA_KEY: json.dumps(fields)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": {"tumor": "tumour"}}, "names for the classes"),
        ({"precision": "float8"}, "float8"),
        ({"names": None}, "cannot be read"),
    ],
)
def test_fields_that_do_not_fit_are_refused(change, said):
    fields = json.loads(to_metadata(CARD)[METADATA_KEY])
    with pytest.raises(ArtifactError, match=said):
        from_metadata({METADATA_KEY: json.dumps({**fields, **change})})


def test_a_card_without_a_schema_is_refused():
    fields = json.loads(to_metadata(CARD)[METADATA_KEY])
    del fields["schema"]
    with pytest.raises(ArtifactError, match="schema 5, but got None") as refusal:
        from_metadata({METADATA_KEY: json.dumps(fields)})
    assert "run the version that exported it" in refusal.value.remedy


def test_a_bottomless_card_is_refused():
    with pytest.raises(ArtifactError, match="cannot be read"):
        from_metadata({METADATA_KEY: "[" * 100_000})
