"""Several procedures that go from place to place, and meet there."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from napari_sam.core.steps import Run

if TYPE_CHECKING:
    from collections.abc import Generator, Hashable, Sequence

Place = TypeVar("Place", bound="Hashable")
Result = TypeVar("Result")


def together(procedures: Sequence[Generator[Place, None, Result]]) -> list[Result]:
    """Return the results of procedures that are run step by step.

    Each yields where it wants to go next and does there what follows.  All that want
    to the same place as their n-th go there one after another, so that what is
    expensive about a place is paid for once.

    Parameters
    ----------
    procedures : sequence of generator
        Their results are what they return.

    Returns
    -------
    list
        In the order of the procedures.
    """
    runs = [Run(steps) for steps in procedures]
    going = runs
    while going:
        wanted: dict[Place, list[Run[Place, Result]]] = {}
        for run in going:
            if run.advance():
                wanted.setdefault(run.latest, []).append(run)
        going = [run for members in wanted.values() for run in members]
    return [run.value for run in runs]
