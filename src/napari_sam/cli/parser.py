"""The command line's commands and options."""

# ruff: noqa: T201 - printing is what a command does
from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from napari_sam.cli import commands as run
from napari_sam.cli.adapting import add_adapt, add_model_actions
from napari_sam.cli.evaluating import add_evaluate
from napari_sam.cli.everything import add_everything
from napari_sam.cli.linking import add_link
from napari_sam.cli.options import add_common, add_files
from napari_sam.cli.propagating import add_propagate
from napari_sam.cli.train import add_train
from napari_sam.errors import SettingsError
from napari_sam.samples import SAMPLES
from napari_sam.types import PointPrompt

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.types import Box


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; its result has the command as ``run``."""
    parser = _Parser(
        prog="napari-sam",
        description="Segment Anything for microscopy: in napari, or from here.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND", parser_class=_Command
    )

    gui = commands.add_parser("gui", help="open napari with the plugin docked")
    gui.add_argument("paths", nargs="*", type=Path, metavar="PATH")
    gui.add_argument("--sample", choices=sorted(SAMPLES), help="open a bundled image")
    gui.set_defaults(run=run.gui)

    add_everything(commands)

    predict = commands.add_parser(
        "predict",
        help="segment one object per box, or one from points",
        description="Points describe one object together; each box is an object of its"
        " own, and with a single box the points refine it. Coordinates are pixels, row"
        " first, and may be fractions. Write --point=... if the first is negative.",
    )
    add_files(predict)
    predict.add_argument(
        "--point", action="append", default=[], type=_point, metavar="R,C[:+|-]",
        help="a point on the object, or with :- off it; repeatable",
    )  # fmt: skip
    predict.add_argument(
        "--box", action="append", default=[], type=_box, metavar="R0,C0,R1,C1",
        help="a box around an object; repeatable",
    )  # fmt: skip
    predict.set_defaults(run=run.predict)

    add_propagate(commands)
    add_link(commands)
    add_evaluate(commands)
    add_train(commands)
    add_adapt(commands)

    models = commands.add_parser("models", help="list, export or remove models")
    add_model_actions(models)
    models.set_defaults(run=run.models)

    cache = commands.add_parser("cache", help="show or clear stored embeddings")
    cache.add_argument("action", choices=["info", "clear"])
    cache.set_defaults(run=run.cache)

    doctor = commands.add_parser("doctor", help="versions, device, speed, cache")
    add_common(doctor, "--model", "--device")
    doctor.set_defaults(run=run.doctor)
    return parser


def _numbers(text: str, count: int, example: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise argparse.ArgumentTypeError(f"{text!r} is not like {example}")
    return numbers


def _point(text: str) -> PointPrompt:
    place, _, sign = text.partition(":")
    if sign not in ("", "+", "-"):
        raise argparse.ArgumentTypeError(f"{text!r} ends in neither :+ nor :-")
    row, column = _numbers(place, 2, "120,88 or 120,88:-")
    return PointPrompt(row, column, sign != "-")


def _box(text: str) -> Box:
    row0, column0, row1, column1 = _numbers(text, 4, "10,20,60,80")
    return (
        min(row0, row1),
        min(column0, column1),
        max(row0, row1),
        max(column0, column1),
    )


class _Parser(argparse.ArgumentParser):
    """Refuse in one sentence; argparse prints all options before it."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; {self.prog} --help says more.")


class _Command(_Parser):
    """Get the options when the command is chosen: some settings import scipy."""

    def __init__(
        self,
        *args: Any,
        fill: Callable[[argparse.ArgumentParser], None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._fill = fill

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        fill, self._fill = self._fill, None
        if fill is not None:
            fill(self)
        return super().parse_known_args(args, namespace)


class _Version(argparse.Action):
    """Look the version up only when it is asked for."""

    def __call__(
        self, parser: argparse.ArgumentParser, *_: object, **__: object
    ) -> None:
        from importlib.metadata import version

        print(f"napari-sam {version('napari-sam')}")
        parser.exit()
