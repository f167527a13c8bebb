"""Fine-tuning and evaluation of promptable models.

The recipe is that of Kirillov et al., "Segment Anything", ICCV 2023, and
Archit et al., "Segment Anything for Microscopy", Nature Methods 2025:
simulated users click, see the answer, and click again where it is wrong.

Names are imported on first use; importing this module loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_sam.training.data.sample_sets import (
        SampleSet,
        read_samples,
        samples_from_arrays,
    )
    from napari_sam.training.data.samples import Sample
    from napari_sam.training.data.sources import Problem, Source
    from napari_sam.training.evaluation import evaluate, iter_evaluate
    from napari_sam.training.report import EvaluationSettings, Report

__all__ = [
    "EvaluationSettings",
    "Problem",
    "Report",
    "Sample",
    "SampleSet",
    "Source",
    "evaluate",
    "iter_evaluate",
    "read_samples",
    "samples_from_arrays",
]

_HOMES = {
    "data.sample_sets": ("SampleSet", "read_samples", "samples_from_arrays"),
    "evaluation": ("evaluate", "iter_evaluate"),
    "report": ("EvaluationSettings", "Report"),
    "data.samples": ("Sample",),
    "data.sources": ("Problem", "Source"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
