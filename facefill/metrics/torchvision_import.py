"""Make torchvision importable beside a torch that its compiled part was not built for.

The index's torchvision is a CUDA build. Beside a CPU torch its compiled part does not load, and the import
fails because two operators that it describes in Python were never declared. Declaring them is enough for the
models, which is all that LPIPS wants of it; their kernels stay missing.
"""

import importlib.util
from pathlib import Path

import torch

OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

declared: list[torch.library.Library] = []  # a library that is garbage-collected takes its operators along


def make_torchvision_importable() -> None:
    """Declare torchvision's operators unless its compiled part does. Call before importing it or lpips."""
    if declared or hasattr(torch.ops.torchvision, OPERATORS[0]):
        return
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            "torchvision is not installed: LPIPS needs it, install lpips with its requirements"
        )
    for compiled in sorted(Path(found.origin).parent.glob("_C*.so")):
        try:
            torch.ops.load_library(str(compiled))
            return
        except OSError:
            continue  # built for another torch
    library = torch.library.Library("torchvision", "DEF")
    for operator in OPERATORS:
        library.define(operator + SIGNATURE)
    declared.append(library)
