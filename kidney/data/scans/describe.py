"""What the files do not say of their slices: scans, patients, contrast phase and view."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kidney.data.scans.boundaries import COLUMNS as BOUNDARY_COLUMNS
from kidney.data.scans.boundaries import boundaries
from kidney.data.scans.grouping import chain, scan_names
from kidney.errors import DataError
from kidney.imaging.appearance import ENHANCED_FROM, VIEWS, appearance


def describe(
    slices: pd.DataFrame, thumbnails: NDArray[np.uint8]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Complete the rows that readers made into a manifest.

    What is given stays: real ids always win over inference. A patient who is given for one slice of
    a scan is the patient of its other slices too; a scan of an unknown patient stands for one.
    Contrast phase and view belong to a scan: they are the median and the most frequent of its
    slices.

    Args:
        slices: path, label, scan, patient, phase, view and more; "" where unknown.
        thumbnails: uint8 (N, 96, 96), row by row those of `slices`.

    Returns:
        The manifest, but for the origin; and the doubtful decisions of inference as
        `kidney.data.scans.boundaries` lists them.

    Raises:
        DataError: a given scan has slices of two patients.
    """
    slices = slices.copy()
    with ThreadPoolExecutor() as pool:
        looking = pool.submit(appearance, thumbnails)
        doubtful = _name_scans(slices, thumbnails)
        looks = looking.result()
    slices["patient"] = _patients(slices)
    for name in ("enhancement", "soft_grey", "body_share"):
        slices[name] = looks[name].round(4)
    by_scan = slices["scan"]
    enhanced = slices["enhancement"].groupby(by_scan).transform("median") >= ENHANCED_FROM
    view = pd.Series(looks["view"].astype(int), index=slices.index)
    most_frequent = pd.crosstab(by_scan, view).idxmax(axis=1)
    estimates = {
        "phase": pd.Series(np.where(enhanced, "enhanced", "plain"), index=slices.index),
        "view": by_scan.map(most_frequent).map(dict(enumerate(VIEWS))),
    }
    slices["estimated"] = ""
    for name, estimate in estimates.items():
        missing = slices[name] == ""
        slices[name] = slices[name].where(~missing, estimate)
        slices["estimated"] += np.where(missing, f" {name}", "")
    slices["estimated"] = slices["estimated"].str.strip()
    return slices, doubtful


def _name_scans(slices: pd.DataFrame, thumbnails: NDArray[np.uint8]) -> pd.DataFrame:
    """Fill in the scans that are not known, in place; return the doubtful decisions."""
    unknown = (slices["scan"] == "").to_numpy()
    doubtful = pd.DataFrame(columns=BOUNDARY_COLUMNS)
    if unknown.any():
        unnamed, looks_of = slices[unknown], thumbnails[unknown]
        found = chain(unnamed, looks_of)
        slices.loc[unknown, "scan"] = scan_names(found, unnamed)
        doubtful = boundaries(found, unnamed, looks_of)
        # Slices that look alike and are known to be of several patients are several scans.
        patient = slices["patient"].where(slices["patient"] != "")
        mixed = patient.groupby(slices["scan"]).transform("nunique") > 1
        mixed &= unknown & patient.notna()
        slices.loc[mixed, "scan"] += "/" + patient[mixed]
    return doubtful


def _patients(slices: pd.DataFrame) -> pd.Series:
    known = slices["patient"].where(slices["patient"] != "")
    by_scan = known.groupby(slices["scan"])
    if several := sorted(by_scan.nunique().pipe(lambda count: count.index[count > 1])):
        raise DataError(
            f"Expected one patient a scan, but scan {several[0]} has "
            f"{sorted(known[slices['scan'] == several[0]].dropna().unique())[:3]}.",
            "Put the scan or patient column of data.labels right.",
        )
    return known.fillna(by_scan.transform("first")).fillna(slices["scan"])
