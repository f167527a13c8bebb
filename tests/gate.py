"""Holds what is followed through a stack in the middle."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from napari_sam.core.volumes.propagation import iter_propagate

if TYPE_CHECKING:
    from collections.abc import Iterator


class Gate:
    """Lets a propagation find some slices, and the others once it is open."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.slices = 3

    def iter_propagate(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Propagate, and wait."""
        count = 0
        for step in iter_propagate(*args, **kwargs):
            count += step is not None
            yield step
            while count >= self.slices and not self.open.is_set():
                self.open.wait(0.002)
                yield None
