"""One request that a model answers before it is given those of others."""

import io

import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from kidney.artifact.predictor import Predictor
from kidney.imaging.windows import MIN_HU
from kidney.serving.inference.decode import decode
from kidney.serving.inference.encode import encode
from kidney.serving.inference.engine import Served
from kidney.serving.schemas import PredictionsQuery
from kidney.serving.settings import Settings

SIDE = 512  # pixels; the first run of a graph allocates for them and is slow
_UID = "2.25.1"


def answer_sample(predictor: Predictor) -> None:
    """Answer a request for a DICOM slice with all that a response can hold.

    Raises:
        Exception: whatever would have failed a request.
    """
    model = Served(predictor)
    limits = Settings()  # the defaults: those of a server may be below the sample
    series = decode([sample()], limits, model.card.window.window, with_hu=True)
    slices = [one.grey for part in series for one in part.slices]
    query = PredictionsQuery(overlay="png", evidence="maps", pixels="png")
    encode(model, series, predictor.predict(slices), query)


def sample() -> bytes:
    """Return an axial CT slice of water in air, 512 x 512, as a DICOM file."""
    rows, columns = np.ogrid[:SIDE, :SIDE]
    body = (rows - SIDE / 2) ** 2 + (columns - SIDE / 2) ** 2 < (SIDE / 3) ** 2
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"{_UID}.1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{_UID}.2", f"{_UID}.3"
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = 1
    dataset.ImagePositionPatient = [-200, -200, 0]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.8, 0.8], 5
    dataset.Rows = dataset.Columns = SIDE
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.RescaleType, dataset.RescaleSlope, dataset.RescaleIntercept = "HU", 1, MIN_HU
    dataset.PixelData = np.where(body, -MIN_HU, 0).astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
