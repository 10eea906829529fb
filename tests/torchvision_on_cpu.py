"""torchvision where its compiled part does not load, beside a torch without CUDA: its networks are plain Python.

The wheels of the package index are built for CUDA, those of https://download.pytorch.org/whl/cpu are not. Importing it
asks for two operators by name; no segmentation network uses them, so they are declared here, without a body.
"""

from __future__ import annotations

import sys

import torch

DECLARED = []


def require_torchvision() -> None:
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        DECLARED.append(library)  # what it declares lives as long as it does
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401
