"""Progress and remarks on stderr."""

# ruff: noqa: T201 - printing is what a command does
from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from napari_sam.core.stopwatch import Stopwatch, format_duration

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
        self._restart()

    def _restart(self) -> None:
        self._watch = Stopwatch()
        self._part = 0.0
        self._tenth = -1

    def __call__(self, step: Progress) -> None:
        """Show how far the work is, and the time left unless the step says it."""
        if self._quiet or not step.total:
            return
        part = step.done / step.total
        if part < self._part:  # the next of several stages
            self._restart()
        self._part = part
        line = f"{part:4.0%} {step.text}"
        seconds = self._watch.seconds_left(step.done, step.total)
        if seconds is not None and not step.text.endswith(" left"):
            line += f", {format_duration(seconds)} left"
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
