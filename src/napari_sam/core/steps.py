"""Long work as generators: run them to the end, or step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_sam.types import Progress

R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


class Run(Generic[S, T]):
    """A generator that is advanced one step at a time.

    For whoever does something with each step or between two; to pass all of them on,
    there is ``yield from``.

    Parameters
    ----------
    steps : generator
        Closing it, or dropping the run, ends the work.

    Attributes
    ----------
    latest : S
        What was yielded last.
    value : T
        What was returned, once `advance` has said that nothing is left.
    """

    latest: S
    value: T

    def __init__(self, steps: Generator[S, None, T]) -> None:
        self._steps = steps

    def advance(self) -> bool:
        """Go on to the next step and return whether there was one."""
        try:
            self.latest = next(self._steps)
        except StopIteration as end:
            self.value = end.value
            return False
        return True


def mapped(
    steps: Generator[S, None, T], function: Callable[[S], R]
) -> Generator[R, None, T]:
    """Pass on what a function makes of each step of a generator, and its value."""
    run = Run(steps)
    while run.advance():
        yield function(run.latest)
    return run.value


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
    run = Run(steps)
    while run.advance():
        if on_step is not None:
            on_step(run.latest)
    return run.value
