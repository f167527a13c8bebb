"""The ``napari-sam`` command.

Exit codes: 0 done; 2 something the user can fix, said in one sentence on
stderr; 130 interrupted.  Files are written whole or not at all.
"""

# ruff: noqa: T201 - printing is what a command does
from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from napari_sam.cli.parser import make_parser
from napari_sam.cli.report import clear_line
from napari_sam.errors import SamError

if TYPE_CHECKING:
    from collections.abc import Sequence

USER_ERROR = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the name of the program; those it was started with by default.

    Returns
    -------
    int
        The exit code.
    """
    logging.basicConfig(format="napari-sam: %(message)s", level=logging.WARNING)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        options = make_parser().parse_args(arguments)
        code: int = options.run(options)
        sys.stdout.flush()
    except SamError as error:
        clear_line()
        print(f"napari-sam: {error}", file=sys.stderr)
        _print_notes(error)
        return USER_ERROR
    except KeyboardInterrupt as error:
        clear_line()
        print("napari-sam: interrupted; no file is half written.", file=sys.stderr)
        _print_notes(error)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output, such as head, has seen enough.
        with suppress(OSError):
            sys.stdout.close()
        return 0
    return code


def _print_notes(error: BaseException) -> None:
    """Say what is left of the work that an error ended."""
    for note in getattr(error, "__notes__", ()):
        print(f"napari-sam: {note}", file=sys.stderr)
