"""NSCLC-Radiomics (Lung1): 422 lung CTs with the radiation oncologists' outlines of the tumour.

python data_scripts/nsclc_radiomics.py --out data/lung1 --cases 3
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

import numpy as np
from fetch import About, Converted, Piece, Plan, idc, run
from fetch.stack import read_slices
from fetch.structures import draw, read_outlines, read_segments

ABOUT = About(
    name="NSCLC-Radiomics",
    source="https://doi.org/10.7937/K9/TCIA.2015.PF0M9REI",
    licence="CC BY-NC 3.0",
    citation="Aerts et al. 2014, Nat Commun 5:4006, https://doi.org/10.1038/ncomms5006; data: Aerts et al. 2019",
    labels={0: "background", 1: "tumour"},
    modality=("CT",),
    tables=("msds-9", "msds-10", "msds-11", "msds-12"),
    mind=(
        "LUNG1-128 was scanned after the operation and is left out",
        "014, 021, 085, 095, 194 and 246 have different numbers of slices in SEG and CT: a patient whose outlines "
        "miss the CT is left out, with the reason",
    ),
)
LEFT_OUT = ("LUNG1-128",)


def options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--outlines", choices=("rtstruct", "seg"), default="rtstruct", help="seg: as rasterised by IDC, 14 times larger"
    )


def plan(asked: Namespace) -> Plan:
    series = idc.listed("nsclc_radiomics", ("CT", asked.outlines.upper()))
    outlines = {one.study: one for one in series if one.modality != "CT"}
    return Plan(
        ABOUT,
        tuple(
            Piece(ct.patient, one_case, (), (ct, outlines[ct.study]))
            for ct in series
            if ct.modality == "CT" and ct.study in outlines and ct.patient not in LEFT_OUT
        ),
    )


def is_tumour(region: str) -> bool:
    """Whether the region is a gross tumour volume: GTV-1, gtv_2, GTV-1 right, …; all of a patient are used."""
    return region.lower().replace("_", "-").startswith(("gtv", "neoplasm"))


def one_case(got):
    ct, outlines = got.piece.series

    def make() -> Converted:
        slices = read_slices(got.series(ct.uid), ct.uid)
        file = got.series(outlines.uid)[0]
        if outlines.modality == "RTSTRUCT":
            regions = read_outlines(file, series=ct.uid)
            masks = [draw(contours, slices) for name, contours in regions.items() if is_tumour(name)]
        else:
            regions = masks = read_segments(file, slices, wanted=is_tumour)
            masks = list(masks.values())
        if not masks:
            raise ValueError(f"no region is named GTV…; the regions are {', '.join(regions) or 'none'}.")
        volume, said = slices.volume()
        return Converted(volume, slices.even(np.logical_or.reduce(masks).astype(np.uint8)), said=said)

    yield got.piece.name, make


if __name__ == "__main__":
    sys.exit(run(plan, doc=__doc__, options=options))
