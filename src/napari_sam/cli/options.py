"""Options that several commands have."""

from __future__ import annotations

import argparse
import inspect
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam.core.settings import Setting, settings_of
from napari_sam.models import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def add_settings(
    parser: argparse.ArgumentParser,
    kind: type[Any],
    names: Collection[str] = (),
    *,
    flags: Mapping[str, str] | None = None,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Add options for the fields of settings; `given_settings` returns their values.

    Parameters
    ----------
    parser : ArgumentParser
        Gets them.
    kind : type
        The class of the settings.
    names : collection of str
        Its fields; by default all that are numbers, choices, or on or off.
    flags : mapping of str to str, optional
        Options that are not called as their fields are.
    texts : mapping of str to str, optional
        Help on the fields whose documentation says too little to who reads only it.
    """
    texts = texts_of(kind) | dict(texts or {})
    for one in settings_of(kind):
        has_option = one.kind in (bool, int, float) or one.choices
        if not has_option or (names and one.name not in names):
            continue
        text = texts.get(one.name, "")
        if one.kind is not bool and one.default is not None and "default" not in text:
            default = one.default if one.choices else f"{one.default:g}"
            text += f" (default: {default})"
        stands_for = {int: "N", float: "X"}.get(one.kind)
        if one.choices:
            stands_for = f"{{{','.join(one.choices)}}}"
        parser.add_argument(
            (flags or {}).get(one.name, flag_of(one.name)),
            dest=_place(kind, one.name),
            action=_Keep,
            nargs=0 if one.kind is bool else None,
            setting=one,
            metavar=stands_for,
            default=argparse.SUPPRESS,
            help=text.replace("%", "%%"),
        )


def given_settings(options: argparse.Namespace, kind: type[Any]) -> dict[str, Any]:
    """Return what the user chose of the fields of `add_settings`, by name."""
    start = _place(kind, "")
    return {
        place.removeprefix(start): value
        for place, value in vars(options).items()
        if place.startswith(start)
    }


def flag_of(name: str) -> str:
    """Return what the option of a field is called."""
    return f"--{name.replace('_', '-')}"


def texts_of(kind: type[Any]) -> dict[str, str]:
    """Return the first sentence of what a class documents of each field, as help."""
    _, _, section = (inspect.getdoc(kind) or "").partition("Parameters\n----------\n")
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line.startswith(" "):
            for name in names:
                texts[name] += f"{line.strip()} "
        elif line:
            names = line.partition(" : ")[0].split(", ")
            texts |= dict.fromkeys(names, "")
    return {name: _as_help(text) for name, text in texts.items()}


def _as_help(text: str) -> str:
    sentence = re.split(r"\.(?: |$)", text, maxsplit=1)[0].replace("`", "")
    return sentence[:1].lower() + sentence[1:]


def _place(kind: type[Any], name: str) -> str:
    return f"{kind.__name__}.{name}"


class _Keep(argparse.Action):
    """Refuse what a field cannot be in the words of the settings, named as here."""

    def __init__(self, *args: Any, setting: Setting, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._setting = setting

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        one, value = self._setting, values
        if one.kind is bool:
            value = not one.default
        elif one.kind in (int, float):
            with suppress(ValueError):
                value = one.kind(values)
        one.check(value, self.option_strings[0])
        setattr(namespace, self.dest, value)


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add what :func:`napari_sam.cli.training.sources_of` reads."""
    parser.add_argument(
        "sources",
        nargs="*",
        type=Path,
        metavar="SOURCE",
        help="a folder with the folders images and masks (or labels), or a COCO or"
        " SA-1B file, or a folder of these beside their images",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="PATH",
        help="SOURCE is a folder of images, and this one of label images with the same"
        " names (NAME_mask, NAME_labels and the like are understood), or a COCO file",
    )
    parser.add_argument(
        "--whole",
        action="append",
        default=[],
        type=Path,
        metavar="SOURCE",
        help="another source, never divided into train and val; repeatable",
    )
    parser.add_argument(
        "--every",
        type=positive,
        default=1,
        metavar="K",
        help="of stacks, every K-th plane",
    )
    parser.add_argument(
        "--max-images",
        type=positive,
        metavar="N",
        help="at most N images or planes of each source, evenly spread",
    )


def add_files(parser: argparse.ArgumentParser) -> None:
    """Add what :func:`napari_sam.cli.images.check_files` looks at, and the plane."""
    parser.add_argument("image", type=Path, metavar="IN", help="image or stack")
    parser.add_argument("out", type=Path, metavar="OUT", help="labels, .tif")
    parser.add_argument(
        "--plane", type=_plane, metavar="I[,J...]", help="plane of a stack, from 0"
    )
    parser.add_argument(
        "--preview", type=Path, metavar="PNG", help="also a picture of the result"
    )
    add_common(parser, "--overwrite", *USE_MODEL)


def _plane(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 12 or 0,12") from None


_COMMON: dict[str, dict[str, Any]] = {
    "--overwrite": {
        "action": "store_true",
        "help": "replace output files that are there already",
    },
    "--model": {"default": DEFAULT_MODEL, "help": "name or weights file"},
    "--base": {
        "default": DEFAULT_MODEL,
        "metavar": "MODEL",
        "help": f"name or weights file to begin with (default: {DEFAULT_MODEL})",
    },
    "--device": {"default": "auto", "help": "auto, cpu, cuda or mps"},
    "--dtype": {"default": "auto", "help": "auto, float32 or bfloat16"},
    "--no-cache": {"action": "store_true", "help": "store no embeddings on disk"},
    "--quiet": {"action": "store_true", "help": "no progress"},
}
USE_MODEL = ("--model", "--device", "--dtype", "--no-cache", "--quiet")
"""What :func:`napari_sam.cli.images.engine_of` reads, and ``--quiet``."""


def add_common(parser: argparse.ArgumentParser, *flags: str) -> None:
    """Add options that several commands have, as all of them have them."""
    for flag in flags:
        short = ("-q",) if flag == "--quiet" else ()
        parser.add_argument(*short, flag, **_COMMON[flag])


def positive(text: str) -> int:
    """Return a whole number from 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return number


def natural(text: str) -> int:
    """Return a whole number from 0."""
    return 0 if text == "0" else positive(text)
