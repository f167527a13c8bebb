"""Several procedures that go from place to place, and meet there."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

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
    results: dict[int, Result] = {}
    wanted: dict[Place, list[int]] = {}

    def advance(i: int, then: dict[Place, list[int]]) -> None:
        try:
            then.setdefault(next(procedures[i]), []).append(i)
        except StopIteration as end:
            results[i] = end.value

    for i in range(len(procedures)):
        advance(i, wanted)
    while wanted:
        now, wanted = wanted, {}
        for members in now.values():
            for i in members:
                advance(i, wanted)
    return [results[i] for i in range(len(procedures))]
