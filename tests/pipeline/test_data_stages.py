"""What the stations before training refuse, wired from the real configuration."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from kidney.errors import ConfigError, DataError
from kidney.pipeline.data_stages import ingest_stage, prepare, split_stage, validate_stage
from tests.helpers.data_slices import write_tree

CONF = str(Path(__file__).parents[2] / "conf")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("stages") / "source", scans=5, slices=4)


@pytest.fixture
def ask(source: Path, tmp_path: Path):
    """Return a function that composes the configuration for a set in a workspace of its own."""

    def composed(*overrides: str) -> DictConfig:
        base = [f"workspace={tmp_path}", f"data.source={source}", "validation.min_slices_a_class=9"]
        with initialize_config_dir(CONF, version_base="1.3"):
            return compose("config", overrides=[*base, *overrides])

    return composed


def splits(cfg: DictConfig) -> Path:
    return Path(cfg.workspace) / "data/ct_kidney/splits/by_patient.json"


def test_prepare_does_all_that_is_missing(ask) -> None:
    slices, split = prepare(ask())
    assert len(slices) == 80
    assert split.folds == 5
    assert prepare(ask())[1] == split


def test_settings_that_changed_since_ingest_are_told(ask, tmp_path: Path) -> None:
    prepare(ask())
    corrections = tmp_path / "corrections.csv"
    corrections.write_text("path,label\nCyst/Cyst- (1).png,stone\n")
    with pytest.raises(DataError, match=r"data\.labels changed since"):
        prepare(ask(f"data.labels={corrections}"))
    with pytest.raises(DataError, match=r"data\.read and data\.classes changed since"):
        prepare(ask("data.classes={normal: Tumor, tumor: Normal, cyst: Cyst, stone: Stone}"))
    ingest_stage(ask(f"data.labels={corrections}"))
    split_stage(ask())
    prepare(ask(f"data.labels={corrections}", "split.seed=0"))
    corrections.write_text("path,label\nCyst/Cyst- (1).png,tumor\n")
    with pytest.raises(DataError, match=r"data\.labels changed since"):
        prepare(ask(f"data.labels={corrections}"))


@pytest.mark.parametrize(
    ("text", "says"), [("garbage", "not a readable split"), ("{}", "not a readable split")]
)
def test_a_broken_split_file_fails_validation(ask, text: str, says: str) -> None:
    cfg = ask()
    prepare(cfg)
    splits(cfg).write_text(text)
    (failed,) = validate_stage(cfg)
    assert says in failed.message


def test_a_split_of_an_earlier_manifest_is_checked_as_it_will_be_made_anew(ask) -> None:
    cfg = ask()
    prepare(cfg)
    split = json.loads(splits(cfg).read_text())
    splits(cfg).write_text(json.dumps({**split, "data": "0" * 16}))
    assert validate_stage(cfg) == []
    with pytest.raises(DataError, match="another manifest"):
        prepare(cfg)
    split_stage(cfg)
    assert asdict(prepare(cfg)[1]) == split


def test_a_split_edited_by_slices_fails_validation(ask) -> None:
    cfg = ask()
    slices, split = prepare(cfg)
    fold_of = {f"{row.path}#0": split.fold_of[row.patient] for row in slices.itertuples()}
    first = next(iter(fold_of))
    fold_of[first] = (fold_of[first] + 2) % 5
    splits(cfg).write_text(json.dumps({**asdict(split), "unit": "slice", "fold_of": fold_of}))
    (failed,) = validate_stage(cfg)
    assert "1 patients or scans lie in more than one part" in failed.message


def test_a_set_that_cannot_be_split_fails_validation(ask) -> None:
    cfg = ask("split.folds=6")
    ingest_stage(cfg)
    failed = {finding.check for finding in validate_stage(cfg)}
    assert "the split 'by_patient'" in failed
    assert "enough of cyst" in failed


@pytest.mark.parametrize("fold", ["split.fold=9", "split.validation_fold=17"])
def test_a_fold_that_is_not_there_stops_validation(ask, fold: str) -> None:
    ingest_stage(ask())
    with pytest.raises(ConfigError, match="to be 0 to 4"):
        validate_stage(ask(fold))


def test_the_leaky_split_fails_validation_and_is_prepared_for_those_who_name_it(ask) -> None:
    cfg = ask("split=leaky")
    ingest_stage(cfg)
    (failed,) = validate_stage(cfg)
    assert failed.about == "split"
    assert prepare(cfg)[1].name == "leaky"


def test_a_set_that_makes_its_slices_itself_takes_no_source(ask, source: Path) -> None:
    with pytest.raises(ConfigError, match="makes its slices itself"):
        ingest_stage(ask("data=phantom", f"data.source={source}"))


def test_the_working_folder_as_source_has_a_name(
    ask, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source)
    assert set(ingest_stage(ask("data.source=."))["origin"]) == {"source"}


def test_a_set_without_a_source_of_its_own_asks_for_one(
    ask, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match=r"none is given(.|\n)*data\.source=PATH"):
        prepare(ask("data=kits", "data.source=''"))
    assert "ingesting it" in capsys.readouterr().out


def test_a_split_of_another_source_than_the_one_asked_for_is_refused(ask) -> None:
    ingest_stage(ask())
    with pytest.raises(DataError, match=r"to hold nope\.zip, but it holds source"):
        split_stage(ask("data.source=/nope.zip"))
    assert not splits(ask()).exists()
