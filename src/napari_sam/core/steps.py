"""Long work as generators: run them to the end, or step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_sam.types import Progress

S = TypeVar("S")
T = TypeVar("T")


def mapped(
    steps: Generator[Any, None, T], function: Callable[[Any], S]
) -> Generator[S, None, T]:
    """Pass on what a function makes of each step of a generator, and its value."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            value: T = end.value
            return value
        yield function(step)


def reporting(
    steps: Generator[Any, None, T], progress: Progress
) -> Generator[Progress, None, T]:
    """Pass the steps of a generator on as the same progress."""
    return mapped(steps, lambda _: progress)


def finish(
    steps: Generator[Any, None, T], on_step: Callable[[Any], None] | None = None
) -> T:
    """Run a generator to its end and return its value.

    Parameters
    ----------
    steps : generator
        Any; its yielded values are progress.
    on_step : callable, optional
        Called with each yielded value.  An exception it raises ends the run.
    """
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            value: T = end.value
            return value
        if on_step is not None:
            on_step(step)
