"""Draw the series behind the page's "Try a sample": a DICOM zip of a phantom with a tumour.

python scripts/sample_series.py   # writes kidney/serving/static/sample-phantom.zip, always alike
"""

import tempfile
import zipfile
from pathlib import Path

from kidney.data.phantom.files import write_dicom_series
from kidney.data.phantom.scan import generate_scan
from kidney.files import whole_file

SAMPLE = Path(__file__).parents[1] / "kidney/serving/static/sample-phantom.zip"
SEED, LABEL = 26, "tumor"  # nephrographic, a clear mass of the left kidney, 8 slices


def write_sample(path: Path) -> None:
    """Write the series as a zip; ZipInfo dates its members 1980, so that no run differs."""
    with tempfile.TemporaryDirectory() as folder, whole_file(path) as temporary:
        files = write_dicom_series(Path(folder) / "series", generate_scan(SEED, LABEL))
        with zipfile.ZipFile(temporary, "w") as archive:
            for file in files:
                member = zipfile.ZipInfo(file.name)
                archive.writestr(member, file.read_bytes(), zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    write_sample(SAMPLE)
    print(f"{SAMPLE}: {SAMPLE.stat().st_size:,} bytes")
