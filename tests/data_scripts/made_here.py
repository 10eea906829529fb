"""Small files in each source's own format, written without the code that reads them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import nibabel
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
    SegmentationStorage,
    generate_uid,
)

STRAIGHT = np.eye(3)
OBLIQUE = np.array([[0.0, -0.96, 0.28], [0.8, -0.168, -0.576], [0.6, 0.224, 0.768]])  # columns: row, column, normal
CORNER = np.array([-10.0, 5.0, 40.0])
PIXEL = (0.7, 0.8)  # mm from column to column, from row to row


def tar(files: dict[str, bytes], *, links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return out.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def nifti(array: np.ndarray, spacing=(3.0, 0.8, 0.7), affine: np.ndarray | None = None) -> bytes:
    """`array` is ([channels], z, y, x); as .nii.gz."""
    import gzip

    affine = np.diag([*spacing[::-1], 1.0]) if affine is None else affine
    stored = array.transpose(*range(array.ndim)[::-1]) if array.ndim == 3 else array.transpose(3, 2, 1, 0)
    return gzip.compress(nibabel.Nifti1Image(stored, affine).to_bytes(), 1)


def read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """([channels], z, y, x) and the affine, by nibabel."""
    image = nibabel.load(path)
    return np.asarray(image.dataobj).T, image.affine


def places(count: int, *, axes=STRAIGHT, step=2.5, along=None, tilt=0.0) -> np.ndarray:
    """(count, 3): where each slice's first pixel lies; `tilt` mm along the column axis a slice."""
    along = np.arange(count) * step if along is None else np.asarray(along, float)
    return CORNER + along[:, None] * axes[:, 2] + np.arange(count)[:, None] * tilt * axes[:, 1]


def ct_series(
    volume: np.ndarray, at: np.ndarray, *, axes=STRAIGHT, uid: str, study: str = "1.2.9", **more
) -> list[bytes]:
    """HU as a scanner stores them, one file a slice, out of order; every other file in implicit VR."""
    files = []
    for number, (slice_, place) in enumerate(zip(volume, at, strict=True)):
        item, out = _file(CTImageStorage, uid, study, "CT", implicit=number % 2 == 1)
        item.InstanceNumber = number + 1
        item.ImagePositionPatient = [f"{mm:.6f}" for mm in place]
        item.ImageOrientationPatient = [f"{cosine:.8f}" for cosine in axes[:, :2].T.ravel()]
        item.PixelSpacing, item.SliceThickness = [PIXEL[1], PIXEL[0]], 5.0  # thicker than the distance, as in LIDC
        _pixels(item, (slice_ + 1024).astype("<u2"), 16)
        item.RescaleIntercept, item.RescaleSlope = -1024, 1
        for key, value in more.items():
            setattr(item, key, value)
        item.save_as(out, enforce_file_format=True)
        files.append(out.getvalue())
    return [files[k] for k in np.random.default_rng(0).permutation(len(files))]


def rtstruct(regions: dict[str, list[np.ndarray]], *, series: str, uid: str, study: str = "1.2.9") -> bytes:
    """Contours are (k, 3) in mm."""
    item, out = _file(RTStructureSetStorage, uid, study, "RTSTRUCT")
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
            contour.ContourGeometricType = "CLOSED_PLANAR" if len(points) > 1 else "POINT"
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{mm:.4f}" for mm in np.asarray(points).ravel()]
            drawn.ContourSequence.append(contour)
        item.StructureSetROISequence.append(roi)
        item.ROIContourSequence.append(drawn)
    item.save_as(out, enforce_file_format=True)
    return out.getvalue()


def seg(masks: dict[str, np.ndarray], at: np.ndarray, *, axes=STRAIGHT, uid: str, study: str = "1.2.9") -> bytes:
    """Bit-packed frames of every slice of every segment, last slice first: numbers say nothing of the place."""
    item, out = _file(SegmentationStorage, uid, study, "SEG")
    item.SegmentationType = "BINARY"
    item.SegmentSequence, item.PerFrameFunctionalGroupsSequence = Sequence(), Sequence()
    orientation, shared = Dataset(), Dataset()
    orientation.ImageOrientationPatient = [f"{cosine:.8f}" for cosine in axes[:, :2].T.ravel()]
    shared.PlaneOrientationSequence = Sequence([orientation])
    item.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for number, (name, mask) in enumerate(masks.items(), start=1):
        segment = Dataset()
        segment.SegmentNumber, segment.SegmentLabel = number, name
        item.SegmentSequence.append(segment)
        for frame, place in zip(mask[::-1], at[::-1], strict=True):
            about, position, identification = Dataset(), Dataset(), Dataset()
            position.ImagePositionPatient = [f"{mm:.6f}" for mm in place]
            identification.ReferencedSegmentNumber = number
            about.PlanePositionSequence = Sequence([position])
            about.SegmentIdentificationSequence = Sequence([identification])
            item.PerFrameFunctionalGroupsSequence.append(about)
            frames.append(frame)
    stack = np.stack(frames).astype(np.uint8)
    _pixels(item, stack, 1)
    item.NumberOfFrames = len(stack)
    packed = np.packbits(stack.ravel(), bitorder="little").tobytes()
    item.PixelData = packed + b"\0" * (len(packed) % 2)
    item.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _file(kind, uid: str, study: str, modality: str, *, implicit: bool = False) -> tuple[FileDataset, io.BytesIO]:
    instance = generate_uid()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, instance
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    out = io.BytesIO()
    item = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    item.SOPClassUID, item.SOPInstanceUID = kind, instance
    item.StudyInstanceUID, item.SeriesInstanceUID, item.FrameOfReferenceUID = study, uid, "1.2.8"
    item.Modality, item.PatientID, item.SeriesNumber = modality, "p1", 1
    return item, out


def _pixels(item: Dataset, array: np.ndarray, bits: int) -> None:
    item.Rows, item.Columns = array.shape[-2:]
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated = item.BitsStored = bits
    item.HighBit, item.PixelRepresentation = bits - 1, 0
    if bits > 1:
        item.PixelData = array.tobytes()


def lidc_xml(series: str, sessions: list[list[dict]]) -> bytes:
    """Sessions of nodules {"malignancy": m, "rois": [(z, "TRUE", [(x, y), …]), …]}."""
    marks = "".join(
        "<readingSession><annotationVersion>3.12</annotationVersion>"
        "<servicingRadiologistID>anonymous</servicingRadiologistID>"
        + "".join(_mark(number, nodule) for number, nodule in enumerate(nodules))
        + "<nonNodule><nonNoduleID>9</nonNoduleID><imageZposition>-10</imageZposition>"
        "<locus><xCoord>5</xCoord><yCoord>6</yCoord></locus></nonNodule></readingSession>"
        for nodules in sessions
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><LidcReadMessage uid="1" xmlns="http://www.nih.gov">'
        f"<ResponseHeader><SeriesInstanceUid>{series}</SeriesInstanceUid></ResponseHeader>{marks}</LidcReadMessage>"
    ).encode()


def _mark(number: int, nodule: dict) -> str:
    rois = "".join(
        f"<roi><imageZposition>{z}</imageZposition><imageSOP_UID>1.2</imageSOP_UID><inclusion>{inclusion}</inclusion>"
        + "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in corners)
        + "</roi>"
        for z, inclusion, corners in nodule["rois"]
    )
    about = "<characteristics><subtlety>5</subtlety><malignancy>{}</malignancy></characteristics>"
    said = about.format(nodule["malignancy"]) if "malignancy" in nodule else ""
    return f"<unblindedReadNodule><noduleID>{number}</noduleID>{said}{rois}</unblindedReadNodule>"


def ring(row: int, column: int, half: int) -> list[tuple[int, int]]:
    """Corners (x, y) of the outline round a square, first = last: strictly inside are (2·half − 1)² pixels."""
    side = range(2 * half)
    corners = [(column - half + k, row - half) for k in side] + [(column + half, row - half + k) for k in side]
    corners += [(column + half - k, row + half) for k in side] + [(column - half, row + half - k) for k in side]
    return corners + corners[:1]
