from kidney.evaluation.report.headline import headline_table

FIGURE = {"value": 0.8, "low": 0.7, "high": 0.9}
RESULT = {
    "slices": 2143,
    "scans": 91,
    "figures": {"accuracy": FIGURE, "ece": {"value": 0.04, "low": 0.02, "high": 0.09}},
    "scan_figures": {"accuracy": {"value": 0.85, "low": 0.75, "high": 0.95}},
}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_each_result_has_a_row_for_slices_and_one_for_scans_with_intervals():
    header, rule, *rows = headline_table({"by scan": RESULT, "random": RESULT}).splitlines()
    assert {line.count("|") for line in (header, rule, *rows)} == {header.count("|")}
    assert [cells(row)[:3] for row in rows] == [
        ["by scan", "2,143 slices of 91 scans", "0.800 [0.700, 0.900]"],
        ["by scan", "91 scans", "0.850 [0.750, 0.950]"],
        ["random", "2,143 slices of 91 scans", "0.800 [0.700, 0.900]"],
        ["random", "91 scans", "0.850 [0.750, 0.950]"],
    ]
    place = cells(header).index("calibration error")
    assert cells(rows[0])[place] == "0.040 [0.020, 0.090]"


def test_a_figure_that_is_not_defined_is_left_empty():
    undefined = {"value": None, "low": None, "high": None}
    result = RESULT | {"figures": {"accuracy": undefined}}
    assert cells(headline_table({"x": result}).splitlines()[2])[2] == ""
