"""What the files do not say of their slices: scans, patients, contrast phase and plane."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kidney.data.scans.boundaries import COLUMNS as BOUNDARY_COLUMNS
from kidney.data.scans.boundaries import boundaries
from kidney.data.scans.grouping import chain, scan_names
from kidney.data.scans.patients import pair_rows, pair_runs, patient_names
from kidney.errors import DataError
from kidney.imaging.appearance import ENHANCED_FROM, PLANES, appearance


def describe(
    slices: pd.DataFrame, thumbnails: NDArray[np.uint8]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Complete the rows that readers made into a manifest.

    What is given stays: real ids always win over inference. A patient who is given for one slice of
    a scan is the patient of its other slices too. Where nobody knows, an inferred coronal scan is
    of the patient of the axial scan before it (`kidney.data.scans.patients`), and any other scan
    stands for a patient.
    Contrast phase and plane belong to a scan: they are the median and the most frequent of its
    slices.

    Args:
        slices: path, label, scan, patient, phase, plane, width, height and more; "" where unknown.
        thumbnails: uint8 (N, 96, 96), row by row those of `slices`.

    Returns:
        The manifest, but for the origin; and the doubtful decisions of inference as
        `kidney.data.scans.boundaries` lists them.

    Raises:
        DataError: a given scan has slices of two patients.
    """
    slices = slices.copy()
    looks = appearance(thumbnails)
    doubtful, pairs = _name_scans(slices, thumbnails, looks)
    slices["patient"] = _patients(slices, pairs)
    for name in ("enhancement", "soft_grey", "body_share"):
        slices[name] = looks[name].round(4)
    by_scan = slices["scan"]
    enhanced = slices["enhancement"].groupby(by_scan).transform("median") >= ENHANCED_FROM
    plane = pd.Series(looks["plane"].astype(int), index=slices.index)
    most_frequent = pd.crosstab(by_scan, plane).idxmax(axis=1)
    estimates = {
        "phase": pd.Series(np.where(enhanced, "enhanced", "plain"), index=slices.index),
        "plane": by_scan.map(most_frequent).map(dict(enumerate(PLANES))),
    }
    slices["estimated"] = ""
    for name, estimate in estimates.items():
        missing = slices[name] == ""
        slices[name] = slices[name].where(~missing, estimate)
        slices["estimated"] += np.where(missing, f" {name}", "")
    slices["estimated"] = slices["estimated"].str.strip()
    return slices, doubtful


def _name_scans(
    slices: pd.DataFrame, thumbnails: NDArray[np.uint8], looks: dict[str, NDArray[np.float64]]
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Fill in the scans that are not known, in place.

    Returns:
        The doubtful decisions, and which scans are of one patient.
    """
    unknown = (slices["scan"] == "").to_numpy()
    if not unknown.any():
        return pd.DataFrame(columns=BOUNDARY_COLUMNS), []
    unnamed, looks_of = slices[unknown], thumbnails[unknown]
    found = chain(unnamed, looks_of)
    slices.loc[unknown, "scan"] = scan_names(found, unnamed)
    looks = {name: values[unknown] for name, values in looks.items()}
    pairs = pair_runs(found, unnamed, looks, looks_of)
    doubtful = [
        table
        for table in (
            boundaries(found, unnamed, looks_of),
            pair_rows(pairs, found, unnamed, looks_of),
        )
        if len(table)
    ]
    # Slices that look alike and are known to be of several patients are several scans.
    patient = slices["patient"].where(slices["patient"] != "")
    mixed = patient.groupby(slices["scan"]).transform("nunique") > 1
    mixed &= unknown & patient.notna()
    slices.loc[mixed, "scan"] += "/" + patient[mixed]
    scans = slices.loc[unknown, "scan"].to_numpy()[found.rows]
    table = pd.concat(doubtful) if doubtful else pd.DataFrame(columns=BOUNDARY_COLUMNS)
    return (
        table.sort_values(["confidence", "before", "after"], ignore_index=True),
        [(str(scans[pair.first]), str(scans[pair.second])) for pair in pairs],
    )


def _patients(slices: pd.DataFrame, pairs: list[tuple[str, str]]) -> pd.Series:
    known = slices["patient"].where(slices["patient"] != "")
    by_scan = known.groupby(slices["scan"])
    if several := sorted(by_scan.nunique().pipe(lambda count: count.index[count > 1])):
        raise DataError(
            f"Expected one patient a scan, but scan {several[0]} has "
            f"{sorted(known[slices['scan'] == several[0]].dropna().unique())[:3]}.",
            "Put the scan or patient column of data.labels right.",
        )
    return patient_names(slices["scan"], known, pairs)
