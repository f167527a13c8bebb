"""Generators that are run to their end, or step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_sam.core.steps import Run, finish, mapped

if TYPE_CHECKING:
    from collections.abc import Generator


def counting(to: int, ended: list[str]) -> Generator[int, None, str]:
    try:
        yield from range(to)
        return f"counted to {to}"
    finally:
        ended.append("ended")


@pytest.mark.parametrize("to", [0, 1, 5])
def test_a_run_has_each_step_and_the_value(to: int) -> None:
    run, seen = Run(counting(to, [])), []
    while run.advance():
        seen.append(run.latest)
    assert seen == list(range(to))
    assert run.value == f"counted to {to}"
    assert finish(counting(to, []), seen.append) == run.value
    assert seen == [*range(to), *range(to)]


def test_errors_come_through() -> None:
    def failing() -> Generator[None, None, None]:
        yield
        raise RuntimeError("here")

    run = Run(failing())
    assert run.advance()
    with pytest.raises(RuntimeError, match="here"):
        run.advance()


def test_what_is_dropped_half_way_is_closed_at_once() -> None:
    ended: list[str] = []
    outer = mapped(counting(5, ended), lambda n: n + 1)
    assert [next(outer), next(outer)] == [1, 2]
    outer.close()
    assert ended == ["ended"]
    run = Run(counting(5, ended))
    run.advance()
    del run
    assert len(ended) == 2
