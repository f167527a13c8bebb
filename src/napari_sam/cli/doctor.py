"""What to know about a computer when something is slow or does not work."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.core.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PACKAGES = ("napari-sam", "napari", "torch", "numpy", "scikit-image", "tifffile")
_BINDINGS = ("PyQt6", "PySide6", "PyQt5")
_SIDE = 1024


def examine(model: str, device: str) -> Iterator[tuple[str, str]]:
    """Yield findings as name and text, the quick ones first.

    Parameters
    ----------
    model, device : str
        As for :func:`napari_sam.load_model`.

    Raises
    ------
    ModelError
        If the model cannot be loaded or run.
    """
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    for name in _PACKAGES:
        yield name, _version(name) or "not installed"
    bindings = [f"{b} {_version(b)}" for b in _BINDINGS if _version(b)]
    yield "Qt", ", ".join(bindings) or 'not installed: pip install "napari[all]"'
    yield "display", _display()
    yield "embeddings", _store()

    from napari_sam.models import load_model

    watch = Stopwatch()
    sam = load_model(model, device=device)
    yield "model", f"{sam.name}, loaded in {watch.elapsed:.2f} s"
    import torch

    yield "device", f"{sam.device}, {sam.dtype}"
    yield "cores", f"{os.cpu_count()}, torch uses {torch.get_num_threads()}"
    image = np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE), np.uint8)
    plane = sam.encode(image)
    yield "encode a plane", _seconds(lambda: sam.encode(image), 3)
    yield (
        "point to mask",
        _seconds(lambda: plane.predict(points=[(_SIDE / 2, _SIDE / 2)]).best, 9),
    )


def _seconds(call: Callable[[], object], repeats: int) -> str:
    times = []
    for _ in range(repeats):
        watch = Stopwatch()
        call()
        times.append(watch.elapsed)
    return f"{median(times) * 1e3:.0f} ms (median of {repeats}, {_SIDE} x {_SIDE})"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _display() -> str:
    if platform.system() != "Linux":
        return "yes"
    found = [v for v in ("WAYLAND_DISPLAY", "DISPLAY") if os.environ.get(v)]
    return ", ".join(f"{v}={os.environ[v]}" for v in found) or "none"


def _store() -> str:
    store = EmbeddingStore()
    info = store.info()
    place = info.folder
    while not place.exists():
        place = place.parent
    state = "writable" if os.access(place, os.W_OK) else "not writable"
    return f"{info.entries}, {info.bytes / 1e6:.1f} MB, {state}, in {info.folder}"
