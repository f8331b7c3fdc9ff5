"""Objects for viewers that show no report: Secondary Captures, and a segmentation."""

import base64
import io
import warnings
from collections.abc import Sequence
from importlib.metadata import version

import highdicom as hd
import numpy as np
from highdicom.sc import SCImage
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentDescription
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, JPEGLSLossless

from kidney.dicom.answer import Answer, Shown
from kidney.dicom.report import (
    CAPTURE_SERIES,
    MANUFACTURER,
    NOTICE,
    SEGMENTATION_SERIES,
    finding_code,
    finding_words,
)
from kidney.dicom.sources import Source, derived_uid

_SIDE = 512  # pixels; smaller slices are enlarged, so that the words fit
_YELLOW, _BLACK = (255, 214, 10), (0, 0, 0)


def build_captures(
    sources: Sequence[Source], answer: Answer, shown: Sequence[Shown], report_uid: str
) -> list[Dataset]:
    """Return a Secondary Capture of each slice that is shown, with overlay, boxes and words."""
    captures: list[Dataset] = []
    for number, at in enumerate(dict.fromkeys(one.file for one in shown), start=1):
        here = [one for one in shown if one.file == at]
        lines = [finding_words(one) for one in here]
        lines.append(f"Series: {finding_code(here[0].series.decision).meaning}")
        lines.append(f"{NOTICE}. Model {answer.model.sha256[:12]}")
        header = sources[at].header
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote names, dates and UIDs
            capture = SCImage(
                pixel_array=_painted(here, lines),
                photometric_interpretation="RGB",
                bits_allocated=8,
                coordinate_system="PATIENT",
                series_instance_uid=derived_uid("captures", report_uid),
                series_number=CAPTURE_SERIES,
                sop_instance_uid=derived_uid("capture", report_uid, str(number)),
                instance_number=number,
                manufacturer=MANUFACTURER,
                study_instance_uid=header.StudyInstanceUID,
                patient_id=header.PatientID,
                patient_name=header.PatientName,
                patient_birth_date=header.PatientBirthDate,
                patient_sex=header.PatientSex or None,
                accession_number=header.AccessionNumber,
                study_id=header.StudyID,
                study_date=header.StudyDate or None,
                study_time=header.StudyTime or None,
                referring_physician_name=header.ReferringPhysicianName,
                patient_orientation=("L", "P"),
                transfer_syntax_uid=JPEGLSLossless,
            )
        capture.SpecificCharacterSet = header.SpecificCharacterSet
        capture.BodyPartExamined = "ABDOMEN"  # without it, a side of the body is asked for
        capture.SeriesDescription = f"Kidney AI: {NOTICE}"
        capture.DerivationDescription = f"Slice with the evidence of the model. {NOTICE}."
        captures.append(capture)
    return captures


def build_segmentation(
    sources: Sequence[Source], shown: Sequence[Shown], answer: Answer, report_uid: str
) -> Dataset | None:
    """Return a binary segmentation of the evidence of each finding on the slices shown.

    None where there is no evidence to show, or where the files say too little of their places.
    """
    found = [one for one in shown if one.mask is not None]
    names = list(dict.fromkeys(one.name for one in found))
    files = list(dict.fromkeys(one.file for one in found))
    headers = [sources[at].header for at in files]
    needed = (
        "FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    )  # fmt: skip
    if not names or any(keyword not in header for header in headers for keyword in needed):
        return None
    first = sources[files[0]]
    masks = np.zeros((len(files), first.rows, first.columns, len(names)), dtype=np.uint8)
    for one in found:
        stored = sources[one.file].as_stored(one.mask)  # type: ignore[arg-type]
        if stored.shape != masks.shape[1:3]:
            return None
        masks[files.index(one.file), :, :, names.index(one.name)] = stored
    algorithm = hd.AlgorithmIdentificationSequence(
        name=MANUFACTURER,
        family=codes.cid7162.ArtificialIntelligence,
        version=answer.model.sha256[:12],
        parameters={"model": answer.model.sha256},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote names, dates and UIDs
        segmentation = Segmentation(
            source_images=[_with_thickness(header) for header in headers],
            pixel_array=masks,
            segmentation_type="BINARY",
            segment_descriptions=[
                SegmentDescription(
                    segment_number=number,
                    segment_label=str(finding_code(name).meaning),
                    segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
                    segmented_property_type=finding_code(name),
                    algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
                    algorithm_identification=algorithm,
                    tracking_uid=derived_uid("segment", report_uid, name),
                    tracking_id=name,
                )
                for number, name in enumerate(names, start=1)
            ],
            series_instance_uid=derived_uid("segmentations", report_uid),
            series_number=SEGMENTATION_SERIES,
            sop_instance_uid=UID(derived_uid("segmentation", report_uid)),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=answer.model.run[:64],
            software_versions=version("kidney-tumor-identification"),
            device_serial_number=answer.model.sha256,
            content_description=f"Evidence of the model. {NOTICE}.",
        )
    segmentation.BodyPartExamined = "ABDOMEN"
    segmentation.SeriesDescription = f"Kidney AI: {NOTICE}"
    return segmentation


def _with_thickness(header: Dataset) -> Dataset:
    if header.get("SliceThickness"):
        return header
    thick = Dataset()
    thick.update(header)
    thick.SliceThickness = 1.0  # it is asked for, and changes no place
    return thick


def _painted(shown: Sequence[Shown], lines: Sequence[str]) -> NDArray[np.uint8]:
    """Return the overlay with boxes and words: uint8 (H, W, 3)."""
    url = shown[0].overlay or ""
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
    height = shown[0].mask.shape[0] if shown[0].mask is not None else picture.height
    enlarge = max(1.0, _SIDE / min(picture.size))
    scale = enlarge * picture.height / height  # the server shrinks large slices
    picture = picture.resize((round(picture.width * enlarge), round(picture.height * enlarge)))
    draw = ImageDraw.Draw(picture)
    size = max(14, picture.height // 32)
    font = ImageFont.load_default(size)
    for one in shown:
        if one.mask is not None:
            top, left, bottom, right = (round(end * scale) for end in one.box)
            draw.rectangle((left, top, right, bottom), outline=_YELLOW, width=2)
    for row, line in enumerate(lines):
        draw.text(
            (8, 8 + row * (size + 4)), line, _YELLOW, font, stroke_width=2, stroke_fill=_BLACK
        )
    return np.asarray(picture, dtype=np.uint8)
