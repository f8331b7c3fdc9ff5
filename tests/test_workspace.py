"""Where notebooks look for what the commands wrote."""

from pathlib import Path

import pytest

from kidney.errors import DataError
from kidney.workspace import find_data, find_masked, find_workspace


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the process is: the notebooks' folder of a repository with two workspaces."""
    for name in ("notebooks", "data/ct_kidney", "data/mine", "demo/data/phantom"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("data/ct_kidney", "data/mine", "demo/data/phantom"):
        (tmp_path / name / "manifest.csv").touch()
    monkeypatch.chdir(tmp_path / "notebooks")
    return tmp_path


@pytest.mark.parametrize(
    ("variables", "found"),
    [({}, "."), ({"KIDNEY_WORKSPACE": "demo"}, "demo")],
)
@pytest.mark.parametrize("here", ["notebooks", "."])
def test_a_workspace_is_found_from_both_folders(
    repository: Path, monkeypatch: pytest.MonkeyPatch, here: str, variables: dict, found: str
):
    monkeypatch.chdir(repository / here)
    assert find_workspace(variables).resolve() == (repository / found).resolve()


def test_an_absolute_workspace_is_taken_as_it_is(repository: Path):
    assert find_workspace({"KIDNEY_WORKSPACE": str(repository / "demo")}) == repository / "demo"


@pytest.mark.usefixtures("repository")
def test_no_workspace_is_told_with_what_to_do():
    with pytest.raises(DataError, match="make demo"):
        find_workspace({"KIDNEY_WORKSPACE": "elsewhere"})


def test_the_usual_set_is_taken_unless_another_is_named(repository: Path):
    assert find_data(repository, {}).name == "ct_kidney"
    assert find_data(repository, {"KIDNEY_DATA": "mine"}).name == "mine"
    assert find_data(repository / "demo", {}).name == "phantom"


def test_a_set_that_is_not_there_is_told_with_those_that_are(repository: Path):
    with pytest.raises(DataError, match=r"data set yours.*ct_kidney, mine"):
        find_data(repository, {"KIDNEY_DATA": "yours"})
    (repository / "data/ct_kidney/manifest.csv").unlink()
    (repository / "data/third").mkdir()
    (repository / "data/third/manifest.csv").touch()
    with pytest.raises(DataError, match=r"one data set.*mine, third"):
        find_data(repository, {})


def test_slices_with_masks_are_found_or_asked_for(repository: Path):
    with pytest.raises(DataError, match=r"scripts/localise\.py"):
        find_masked(repository)
    (repository / "data/masked-x.zip").mkdir()
    assert find_masked(repository).name == "masked-x.zip"
