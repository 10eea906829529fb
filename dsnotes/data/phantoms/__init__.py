"""CT-like cases drawn from continuous shapes, so that the true share of lesion in every voxel is known.

Case i of a seed is the same patient for any number of cases and on any grid; a finer grid shows more detail. The
default field of view is that of a small adult; with a spacing, the anatomy (tumours too) is scaled to fill
size × spacing, while blur and noise stay those of a scanner. Images are whole Hounsfield units and fractions are
multiples of 1/4096, so that every machine makes the same ones. Axes: z upwards, y to the back, x to the patient's left.

Each function's docstring lists its cases' `extras`; all of them have `alpha`, the true share of lesion.

    nodules   `readers` (four masks), `recist`, `seen`, `kind`; the only one with readers and RECIST axes
    lung      `tumours`, `components`, `lungs`
    kidneys   `tumours`, `organ_alpha`, `sides`, `distractor`
    abdomen   `tumours`, `organ_alpha`
    brain     only `alpha`; four channels, three labels that make up overlapping regions
"""

from dsnotes.data.phantoms.abdomen import abdomen
from dsnotes.data.phantoms.brain import brain
from dsnotes.data.phantoms.kidneys import kidneys
from dsnotes.data.phantoms.lung import lung
from dsnotes.data.phantoms.nodules import nodules

__all__ = ["abdomen", "brain", "kidneys", "lung", "nodules"]
