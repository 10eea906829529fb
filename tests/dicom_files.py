"""DICOM as tests need it: a series slice by slice and out of order, and outlines drawn on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

STRAIGHT = np.eye(3)
OBLIQUE = np.array([[0.0, -0.96, 0.28], [0.8, -0.168, -0.576], [0.6, 0.224, 0.768]])
CORONAL = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # rows to the left, columns to the feet
FIRST = np.array([-10.0, 5.0, 40.0])  # where the first pixel of the first slice lies, mm
PIXEL = (0.8, 0.7)  # rows apart, columns apart


def _file(kind: str, modality: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    item.SOPClassUID, item.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    item.Modality = modality
    return item


def write_series(
    folder: Path, volume, *, axes=STRAIGHT, steps=None, uid=None, drift=0.0, description="thorax", patient="p1"
) -> str:
    """HU as a scanner stores them: whole numbers with a slope and an intercept, each slice with its own position."""
    folder.mkdir(exist_ok=True, parents=True)
    uid = uid or generate_uid()
    study, frame = generate_uid(), generate_uid()
    along = np.arange(len(volume)) * 2.5 if steps is None else np.asarray(steps)
    for number in np.random.default_rng(0).permutation(len(volume)):
        item = _file(CTImageStorage, "CT")
        item.StudyInstanceUID, item.SeriesInstanceUID, item.FrameOfReferenceUID = study, uid, frame
        item.SeriesDescription, item.PatientID, item.PatientName = description, patient, patient
        item.PatientBirthDate = item.PatientSex = item.AccessionNumber = item.StudyID = ""
        item.StudyDate = item.StudyTime = item.ReferringPhysicianName = ""
        item.SeriesNumber, item.InstanceNumber = 1, int(number) + 1
        position = FIRST + axes[:, 2] * along[number] + axes[:, 1] * drift * number
        item.ImagePositionPatient = [float(f"{mm:.6f}") for mm in position]
        item.ImageOrientationPatient = [float(cosine) for cosine in axes[:, :2].T.ravel()]
        item.PixelSpacing = list(PIXEL)
        item.SliceThickness = 2.5
        item.Rows, item.Columns = volume.shape[1:]
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated = item.BitsStored = 16
        item.HighBit, item.PixelRepresentation = 15, 0
        item.RescaleIntercept, item.RescaleSlope = -1024, 1
        item.PixelData = (volume[number] + 1024).astype("<u2").tobytes()
        item.save_as(folder / f"{uid[-6:]}-{(int(number) * 7) % 97:03d}.dcm", enforce_file_format=True)
    return uid


def write_outlines(path: Path, regions: dict[str, list[np.ndarray]], *, series: str) -> Path:
    """An RTSTRUCT; contours are (k, 3) in mm."""
    item = _file(RTStructureSetStorage, "RTSTRUCT")
    item.StudyInstanceUID, item.SeriesInstanceUID, item.PatientID = generate_uid(), generate_uid(), "p1"
    of_series, of_study, frame = Dataset(), Dataset(), Dataset()
    of_series.SeriesInstanceUID = series
    of_study.RTReferencedSeriesSequence = Sequence([of_series])
    frame.RTReferencedStudySequence = Sequence([of_study])
    item.ReferencedFrameOfReferenceSequence = Sequence([frame])
    item.StructureSetROISequence, item.ROIContourSequence = Sequence(), Sequence()
    for number, (name, contours) in enumerate(regions.items(), start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber = drawn.ReferencedROINumber = number
        roi.ROIName = name
        drawn.ContourSequence = Sequence()
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
            contour.ContourData = [f"{mm:.4f}" for mm in np.asarray(points).ravel()]
            drawn.ContourSequence.append(contour)
        item.StructureSetROISequence.append(roi)
        item.ROIContourSequence.append(drawn)
    item.save_as(path, enforce_file_format=True)
    return path


def write_segments(path: Path, masks: dict[str, np.ndarray], *, folder: Path) -> Path:
    """A DICOM-SEG by highdicom of masks (slices, rows, columns) in the order of positions, without empty frames."""
    import warnings

    import highdicom
    from pydicom import dcmread
    from pydicom.sr.codedict import codes

    sources = sorted((dcmread(file) for file in folder.iterdir()), key=lambda item: item.InstanceNumber)
    kinds = highdicom.seg
    segments = [
        kinds.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Kidney,
            algorithm_type=kinds.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, name in enumerate(masks, start=1)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on the name of a person who is called p1
        kinds.Segmentation(
            source_images=sources,
            pixel_array=np.stack(list(masks.values()), axis=-1),
            segmentation_type=kinds.SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            series_instance_uid=generate_uid(),
            series_number=2,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="made here",
            manufacturer_model_name="made here",
            software_versions="1",
            device_serial_number="1",
        ).save_as(path)
    return path
