"""Write a predicted label as a DICOM-SEG of its series, for a hospital's image archive (PACS)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np

from dsnotes.data import dicom
from dsnotes.data.case import Case
from dsnotes.data.geometry import Geometry
from dsnotes.data.label_names import colour

# SNOMED CT codes for common label names; any other name is stored as "Tissue" with its own label.
CODES = {
    "kidney": ("64033007", "Kidney"),
    "liver": ("10200004", "Liver"),
    "spleen": ("78961009", "Spleen"),
    "pancreas": ("15776009", "Pancreas"),
    "lung": ("39607008", "Lung"),
    "prostate": ("41216001", "Prostate"),
    "heart": ("80891009", "Heart"),
    "hippocampus": ("5366008", "Hippocampus"),
    "tumour": ("108369006", "Neoplasm"),
    "tumor": ("108369006", "Neoplasm"),
    "lesion": ("52988006", "Lesion"),
    "nodule": ("27925004", "Nodule"),
}
LESIONS = {"108369006", "52988006", "27925004"}


def save_dicom_seg(
    path: Path,
    label: np.ndarray,
    case: Case,
    folder: Path,
    *,
    labels: Mapping[int, str],
    model: str,
    series: str | None = None,
) -> Path:
    """Write `label` (on the case's grid) with one binary segment per class present; `folder` holds the series."""
    try:
        import highdicom
        import pydicom
        from pydicom.sr.codedict import codes
    except ModuleNotFoundError:
        raise ModuleNotFoundError("DICOM-SEG is written by highdicom: pip install 'dsnotes[dicom]'.") from None
    files = dicom.series_files(folder, series)
    sources = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    geometry: Geometry = case.extras["geometry"]
    filed = np.ascontiguousarray(geometry.as_filed(label))  # (slices, rows, columns), in the order of `files`
    kept = [value for value in labels if value and (filed == value).any()] or [v for v in labels if v][:1]
    segments = []
    for number, value in enumerate(kept, start=1):
        code = CODES.get(labels[value].lower())
        kind = highdicom.sr.CodedConcept(code[0], "SCT", code[1]) if code else codes.SCT.Tissue
        lesion = bool(code) and code[0] in LESIONS
        segments.append(
            highdicom.seg.SegmentDescription(
                segment_number=number,
                segment_label=labels[value],
                segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure
                if lesion
                else codes.SCT.Organ
                if code
                else codes.SCT.Tissue,
                segmented_property_type=kind,
                algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=highdicom.AlgorithmIdentificationSequence(
                    name=model, version=version("dsnotes"), family=codes.DCM.ArtificialIntelligence
                ),
                display_color=highdicom.color.CIELabColor.from_rgb(*colour(value)),
            )
        )
    masks = np.stack([filed == value for value in kept], axis=-1)
    written = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=masks,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=highdicom.UID(),
        series_number=1000,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="dsnotes",
        manufacturer_model_name=model,
        software_versions=version("dsnotes"),
        device_serial_number="0",
        series_description=f"segmentation by {model}"[:64],
        omit_empty_frames=False,  # so that readers that stack the frames, as ITK does, place them correctly
        pixel_measures=highdicom.PixelMeasuresSequence(
            pixel_spacing=[float(mm) for mm in sources[0].PixelSpacing],
            slice_thickness=geometry.spacing[2],
            spacing_between_slices=geometry.spacing[2],
        ),
    )
    part = path.with_name(f"part-{path.name}")
    written.save_as(part)
    part.replace(path)
    return path
