"""Progress and remarks on stderr."""

# ruff: noqa: T201 - printing is what a command does
from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_sam.types import Progress


class Report:
    """Progress on stderr: one line that changes, or ten lines in a log.

    Parameters
    ----------
    quiet : bool
        Say nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._is_terminal = sys.stderr.isatty()
        self._start = time.perf_counter()
        self._tenth = -1

    def __call__(self, step: Progress) -> None:
        """Show how far the work is."""
        if self._quiet or not step.total:
            return
        part = step.done / step.total
        left = ""
        if step.done:
            seconds = (time.perf_counter() - self._start) * (1 / part - 1)
            left = f", {seconds:.0f} s left"
        line = f"{part:4.0%} {step.text}{left}"
        if self._is_terminal:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        elif int(part * 10) > self._tenth:
            self._tenth = int(part * 10)
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Remove the line."""
        if not self._quiet:
            clear_line()


def clear_line() -> None:
    """Remove the line of progress, if there is one."""
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)


def say(text: str, *, quiet: bool) -> None:
    """Print a remark that is no result."""
    if not quiet:
        print(text, file=sys.stderr)
