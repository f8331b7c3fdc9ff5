"""A team's CSV wins over what files and inference say, and a mistake in it is told."""

from pathlib import Path

import pytest

from kidney.data.corrections import corrected, read_corrections, unmatched_rows
from kidney.data.manifest import read_manifest, read_rejected
from kidney.errors import DataError
from tests.helpers.data_slices import take


def write(folder: Path, text: str) -> Path:
    path = folder / "corrections.csv"
    path.write_text(text)
    return path


def test_no_file_corrects_nothing() -> None:
    assert corrected(read_corrections(None), "Cyst/1.png", 0) == {}


def test_the_closest_row_wins_and_an_empty_cell_changes_nothing(tmp_path: Path) -> None:
    table = read_corrections(
        write(
            tmp_path,
            "path,label,scan,patient\ncase/,cyst,s1,p1\ncase/a.nii,,s2,\ncase/a.nii#3,tumor,,\n",
        )
    )
    assert corrected(table, "case/a.nii", 3) == {"label": "tumor", "scan": "s2", "patient": "p1"}
    assert corrected(table, "case/a.nii", 2) == {"label": "cyst", "scan": "s2", "patient": "p1"}
    assert corrected(table, "case/b.nii", 3) == {"label": "cyst", "scan": "s1", "patient": "p1"}
    assert corrected(table, "cases/b.nii", 3) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "columns are"),
        ("path\na\n", "any of label"),
        ("scan\na\n", "path and any of"),
        ("path,scan,size\na,b,c\n", "size"),
        ("path,scan\na,b\na/,c\n", "more than once"),
        ('path,scan\na,b\n"', "but:"),
        ("path,scan\na,b\nc,d,e\n", r"at most 2 cells in line 3 of .* got 3"),
        ("path,scan\na,b,c\nc,d,e\n", "in line 2"),
        ("path,scan,path \na,b,c\n", "column of .* once"),
        ("path,scan, scan\na,b,c\n", "column of .* once"),
        ("path,file,scan\na,b,c\n", "column of .* once"),
        ("path,,scan\na,b,c\n", "columns are"),
        ("path,frame\na,1\n", "any of label"),
        ("path,frame,scan\na,1,b\na#1,,c\n", "a#1 more than once"),
        ("path,frame,scan\na,1.5,b\n", "frame in line 2 of .* '1.5'"),
        ("path,phase\na,enhanced\nb,arterial\n", "phase in line 3 of .* 'arterial'"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_corrections(write(tmp_path, text))


def test_spreadsheets_leave_commas_blank_lines_and_a_mark_behind(tmp_path: Path) -> None:
    text = "\ufeffpath,label ,phase,\na/,cyst,plain,\n\n,,,\n b.png ,stone\n"
    assert read_corrections(write(tmp_path, text)) == {
        "a": {"label": "cyst", "phase": "plain"}, "b.png": {"label": "stone"},
    }  # fmt: skip


def test_a_trailing_comma_does_not_shift_the_columns(tmp_path: Path) -> None:
    table = read_corrections(write(tmp_path, "path,scan\na,s,\nb,t,\n"))
    assert table == {"a": {"scan": "s"}, "b": {"scan": "t"}}


def test_the_frame_may_have_a_column_and_the_path_another_name(tmp_path: Path) -> None:
    text = "file,frame,label,scan\nset/a.nii,3,,s\nset/a.nii,04,cyst,\nset/b.nii,,,t\n"
    table = read_corrections(write(tmp_path, text))
    assert corrected(table, "set/a.nii", 3) == {"scan": "s"}
    assert corrected(table, "set/a.nii", 4) == {"label": "cyst"}
    assert corrected(table, "set/b.nii", 9) == {"scan": "t"}


def test_columns_of_the_manifest_are_a_table(data: Path, source: Path, tmp_path: Path) -> None:
    slices = read_manifest(data)
    groups = slices[["path", "frame", "scan"]].replace("cyst-0001", "mine")
    again = take(data, source, corrections=write(tmp_path, groups.to_csv(index=False)))
    assert set(again["scan"]) == set(slices["scan"]) - {"cyst-0001"} | {"mine"}


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv"):
        read_corrections(tmp_path / "gone.csv")


def test_rows_that_speak_of_no_slice_are_named() -> None:
    names = ["a", "a/b", "a/b/1.png", "a/2.dcm#4", "a/2.dcm#5", "b"]
    known = {name: {"scan": "x"} for name in names}
    assert unmatched_rows(known, [("a/b/1.png", 0), ("a/2.dcm", 4)]) == ["a/2.dcm#5", "b"]


def test_an_end_of_a_path_is_enough_where_no_other_file_has_it() -> None:
    known = {"1.png": {"label": "cyst"}, "b/2.png": {"label": "tumor"}, "v.nii#3": {"scan": "s"}}
    seen = [("deep/a/1.png", 0), ("deep/b/2.png", 0), ("deep/c/2.png", 0), ("deep/v.nii", 3)]
    assert [corrected(known, *slice_) for slice_ in seen] == [
        {"label": "cyst"},
        {"label": "tumor"},
        {},
        {"scan": "s"},
    ]
    assert unmatched_rows(known, seen) == []


def test_an_end_that_two_files_have_is_named() -> None:
    known = {"1.png": {"label": "cyst"}, "a/1.png": {"label": "cyst"}}
    assert unmatched_rows(known, [("a/1.png", 0), ("b/1.png", 0)]) == ["1.png"]


def test_all_of_a_path_wins_over_its_end() -> None:
    known = {"1.png": {"label": "cyst"}, "a/1.png": {"label": "tumor"}}
    assert corrected(known, "a/1.png", 0) == {"label": "tumor"}


def test_corrected_groups_win_over_inference(source: Path, tmp_path: Path) -> None:
    text = "path,scan,patient\nCyst/Cyst- (1).png,mine,\nCyst/Cyst- (4).png,,old\nStone,,one man\n"
    slices = take(tmp_path / "data", source, corrections=write(tmp_path, text)).set_index("path")
    assert slices.loc["Cyst/Cyst- (1).png", ["scan", "patient"]].to_list() == ["mine", "mine"]
    assert slices.loc["Cyst/Cyst- (2).png", "scan"] == slices.loc["Cyst/Cyst- (3).png", "scan"]
    # Named for one slice of a scan, the patient is that of the others too.
    assert set(slices.loc[[f"Cyst/Cyst- ({n}).png" for n in (4, 5, 6)], "patient"]) == {"old"}
    stones = slices[slices["label"] == "stone"]
    assert (stones["scan"].nunique(), stones["patient"].nunique()) == (4, 1)
    assert set(read_manifest(tmp_path / "data")["patient"]) == set(slices["patient"])


def test_a_corrected_label_wins_over_folder_and_name(source: Path, tmp_path: Path) -> None:
    good = (source / "Cyst" / "Cyst- (1).png").read_bytes()
    (source / "Cyst" / "Tumor- (3).png").write_bytes(good)
    (source / "Elsewhere").mkdir()
    (source / "Elsewhere" / "1.png").write_bytes(good)
    text = "path,label\nCyst/Tumor- (3).png,tumor\nElsewhere,stone\nCyst/Cyst- (2).png,kidney\n"
    slices = take(tmp_path / "data", source, corrections=write(tmp_path, text)).set_index("path")
    assert slices.loc["Cyst/Tumor- (3).png", "label"] == "tumor"
    assert slices.loc["Elsewhere/1.png", "label"] == "stone"
    refused = read_rejected(tmp_path / "data")
    assert refused["path"].to_list() == ["Cyst/Cyst- (2).png"]
    assert "'kidney', but classes are normal" in refused["reason"][0]


def test_a_correction_of_nothing_stops_the_ingest(data: Path, source: Path, tmp_path: Path) -> None:
    before = (data / "manifest.csv").read_bytes()
    with pytest.raises(DataError, match=r"Cyst/cyst-1\.png"):
        take(data, source, corrections=write(tmp_path, "path,scan\nCyst/cyst-1.png,a\n"))
    assert (data / "manifest.csv").read_bytes() == before


def test_one_scan_of_two_patients_is_refused(source: Path, tmp_path: Path) -> None:
    text = "path,scan,patient\nCyst/Cyst- (1).png,s,a\nCyst/Cyst- (2).png,s,b\n"
    with pytest.raises(DataError, match=r"one patient a scan, but scan s has \['a', 'b'\]"):
        take(tmp_path / "data", source, corrections=write(tmp_path, text))
