"""The report: a Comprehensive 3D SR after TID 1500 with image regions as 2D SCOORD.

Evidence of all slices, but an image library of those shown: with 300 slices in the library the
report would take 14 s and 1.3 MB. Every group of measurements has an image region, since OHIF shows
a black page where one has none.
"""

import warnings
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    GraphicTypeValues,
    ImageRegion,
    Measurement,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    SourceImageForRegion,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, Comprehensive3DSRStorage

from kidney.dicom.answer import (
    NEEDS_REVIEW,
    NORMAL,
    NOT_A_KIDNEY_CT,
    Answer,
    Finding,
    Shown,
)
from kidney.dicom.sources import Source, derived_uid

NOTICE = "Preliminary, research use only"
MANUFACTURER = "Kidney Tumor Identification System"
REPORT_SERIES, CAPTURE_SERIES, SEGMENTATION_SERIES = 9901, 9902, 9903  # numbers that sort last
_IN_LIBRARY = (  # what an entry of the image library needs
    "PixelSpacing", "SliceThickness", "ImagePositionPatient", "ImageOrientationPatient",
)  # fmt: skip
_OWN = "99KIDNEY"  # codes that no public scheme has
# SNOMED CT: a mass until pathology says neoplasm.
FINDINGS = {
    "tumor": CodedConcept("309088003", "SCT", "Renal mass"),
    "cyst": CodedConcept("722223000", "SCT", "Cyst of kidney"),
    "stone": CodedConcept("95570007", "SCT", "Kidney stone"),
    NORMAL: CodedConcept("17621005", "SCT", "Normal"),
    NEEDS_REVIEW: CodedConcept("needs_review", _OWN, "Needs a radiologist"),
    NOT_A_KIDNEY_CT: CodedConcept("not_a_kidney_ct", _OWN, "Not a kidney CT"),
}
KIDNEY = CodedConcept("64033007", "SCT", "Kidney")
_SIDES = {
    "left": CodedConcept("7771000", "SCT", "Left"),
    "right": CodedConcept("24028007", "SCT", "Right"),
}
_IN_SERIES = CodedConcept("series_probability", _OWN, "Probability in the series")
_DIAMETER = CodedConcept("81827009", "SCT", "Diameter")
_DECISION = CodedConcept("decision", _OWN, "Decision on the series")
_PERCENT = CodedConcept("%", "UCUM", "percent")
_MM = CodedConcept("mm", "UCUM", "millimeter")


def finding_code(name: str) -> CodedConcept:
    """Return the code of a class or decision; classes of other models get one of our own."""
    return FINDINGS.get(name) or CodedConcept(name[:16], _OWN, name.replace("_", " ").capitalize())


def finding_words(shown: Shown) -> str:
    """Return what a box says: finding, side, probability, size and slices."""
    finding, words = shown.finding, [str(finding_code(shown.name).meaning)]
    if finding and finding.side:
        words.append(finding.side)
    if shown.probability is not None and shown.name != NEEDS_REVIEW:
        words.append(f"{shown.probability:.0%}")
    if finding and finding.diameter_mm:
        words.append(f"{finding.diameter_mm:.0f} mm")
    if finding and finding.first is not None and finding.last is not None:
        start = shown.series.slices[0]
        words.append(f"slices {finding.first - start + 1} to {finding.last - start + 1}")
    return ", ".join(words)


def build_report(
    sources: Sequence[Source],
    answer: Answer,
    shown: Sequence[Shown],
    uid: UID,
    series_uid: UID,
    instance_number: int,
    previous: str | None,
) -> Dataset:
    """Return the report on a series.

    Args:
        sources: all slices.
        answer: for all of them.
        shown: the regions, one or more.
        uid: SOPInstanceUID of the report.
        series_uid: SeriesInstanceUID of the reports on this series.
        instance_number: from 1.
        previous: SOPInstanceUID of the report that this one replaces.
    """
    headers = [one.header for one in sources]
    algorithm = AlgorithmIdentification(
        name=MANUFACTURER,
        version=f"{version('kidney-tumor-identification')}, model {answer.model.run}"[:64],
        parameters=[f"Model SHA-256: {answer.model.sha256}", f"Code: {answer.model.code}", NOTICE],
    )
    listed = [headers[at] for at in dict.fromkeys(one.file for one in shown)]
    library = [one for one in listed if all(keyword in one for keyword in _IN_LIBRARY)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote names, dates and UIDs
        content = MeasurementReport(
            observation_context=_observer(answer),
            procedure_reported=CodedConcept("77477000", "SCT", "Computed Tomography"),
            imaging_measurements=[
                _group(one, number, sources[one.file], uid, algorithm)
                for number, one in enumerate(shown, start=1)
            ],
            title=codes.DCM.ImagingMeasurementReport,
            referenced_images=library or None,
        )
        report = Comprehensive3DSR(
            evidence=headers,
            content=content[0],
            series_instance_uid=series_uid,
            series_number=REPORT_SERIES,
            sop_instance_uid=uid,
            instance_number=instance_number,
            manufacturer=MANUFACTURER,
            is_complete=True,
            is_final=False,
            is_verified=False,
            previous_versions=[_reference(headers[0], series_uid, previous)] if previous else None,
        )
    report.SeriesDescription = f"Kidney AI: {NOTICE}"
    report.SoftwareVersions = version("kidney-tumor-identification")
    return report


def _observer(answer: Answer) -> ObservationContext:
    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("model", answer.model.sha256),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=answer.model.run[:64],
        serial_number=answer.model.sha256,
    )
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        )
    )


def _group(
    shown: Shown,
    number: int,
    source: Source,
    uid: UID,
    algorithm: AlgorithmIdentification,
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    top, left, bottom, right = source.box_as_stored(shown.box)
    corners = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    site = FindingSite(KIDNEY, laterality=_side(shown.finding))
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=derived_uid("region", uid, str(number)), identifier=finding_words(shown)
        ),
        referenced_region=ImageRegion(
            graphic_type=GraphicTypeValues.POLYLINE,
            graphic_data=np.array(corners),
            source_image=SourceImageForRegion(
                source.header.SOPClassUID, source.header.SOPInstanceUID
            ),
        ),
        finding_type=finding_code(shown.name),
        finding_sites=[site] if shown.name != NOT_A_KIDNEY_CT else None,
        measurements=_measurements(shown),
        qualitative_evaluations=[
            QualitativeEvaluation(_DECISION, finding_code(shown.series.decision))
        ],
        algorithm_id=algorithm,
    )


def _side(finding: Finding | None) -> CodedConcept | None:
    return _SIDES.get(finding.side or "") if finding else None


def _measurements(shown: Shown) -> list[Measurement]:
    found = []
    if shown.probability is not None:
        found.append((_probability_of(shown), 100 * shown.probability, _PERCENT))
    if shown.finding:
        found.append((_IN_SERIES, 100 * shown.finding.probability, _PERCENT))
    if shown.finding and shown.finding.diameter_mm is not None:
        found.append((_DIAMETER, shown.finding.diameter_mm, _MM))
    return [Measurement(name=name, value=round(value, 1), unit=unit) for name, value, unit in found]


def _probability_of(shown: Shown) -> CodedConcept:
    """Return the code of a probability; its meaning says of what, since OHIF shows only that."""
    meaning = f"{finding_code(shown.label).meaning}, probability"
    if shown.name == NEEDS_REVIEW:
        meaning = f"{finding_code(NEEDS_REVIEW).meaning}; {meaning.lower()}"
    return CodedConcept("122157", "DCM", meaning[:64])


def _reference(header: Dataset, series_uid: str, uid: str) -> Dataset:
    """Return what names an earlier report of the same series, as highdicom takes it."""
    earlier = Dataset()
    earlier.StudyInstanceUID = header.StudyInstanceUID
    earlier.SeriesInstanceUID = series_uid
    earlier.SOPClassUID = Comprehensive3DSRStorage
    earlier.SOPInstanceUID = uid
    return earlier
