"""Connections that are made together and undone together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class ConnectionSet:
    """Event connections of one bound object, all dropped by `clear`.

    napari holds bound methods weakly and never tells when an emitter dies, so
    each connection is remembered as a pair and disconnected explicitly.
    """

    def __init__(self) -> None:
        self._pairs: list[tuple[Any, Callable[..., Any]]] = []

    def connect(self, emitter: Any, callback: Callable[..., Any]) -> None:
        """Connect ``callback`` to a napari emitter or a psygnal signal."""
        emitter.connect(callback)
        self._pairs.append((emitter, callback))

    def clear(self) -> None:
        """Disconnect everything; callbacks already gone are ignored."""
        pairs, self._pairs = self._pairs, []
        for emitter, callback in pairs:
            try:
                emitter.disconnect(callback)
            except (ValueError, TypeError):
                # napari raises when the emitter has dropped the callback itself
                continue
