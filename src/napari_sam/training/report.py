"""What an evaluation found: per object, per data set, as a table and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Literal

from napari_sam.core.everything.settings import (
    LARGEST_SHARE,
    EverythingSettings,
    Prompts,
)
from napari_sam.core.metrics import AP_THRESHOLDS, MAX_OBJECTS, MIN_AREA
from napari_sam.core.settings import Range, Settings, Share
from napari_sam.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CLICKS = (1, 3, 5)
BOX = "box"
_PRECISIONS = ("0.5", "0.75", "mean")


@dataclass(frozen=True, slots=True)
class EvaluationSettings(Settings):
    """The protocol; see :mod:`napari_sam.core.metrics`.

    Parameters
    ----------
    max_objects : int
        Objects per image; 0 leaves clicks and boxes out.
    min_area : int
        Smaller objects are left out, in pixels.
    clicks : tuple of int
        After how many clicks to measure, ascending.
    feed_logits : bool
        Whether each click refines the answer before it, as in the viewer, or
        the model is asked anew with all clicks.
    everything : int
        Images per source on which everything mode is measured, from the first.
    prompts : {"auto", "grid", "objects"}
        Where the model is asked then: on a grid, or where it sees objects; auto: where
        it sees objects if it can.
    points_per_side : int
        Points along each side of its grid.
    max_area_share : float
        Masks of more than this share of the plane are left out.
    overlap : {"area", "score"}
        Who gets pixels that masks share: the smallest, or the best-scored.  The
        defaults are those of the viewer and the command line.
    seed : int
        Seed of the choice of objects.  An image's objects depend on this and on its
        name alone.
    """

    max_objects: Annotated[int, Range(0)] = MAX_OBJECTS
    min_area: Annotated[int, Range(0)] = MIN_AREA
    clicks: tuple[int, ...] = CLICKS
    feed_logits: bool = True
    everything: Annotated[int, Range(0)] = 0
    prompts: Prompts = "auto"
    points_per_side: int = 32
    max_area_share: Share = LARGEST_SHARE
    overlap: Literal["area", "score"] = "area"
    seed: int = 0

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        self.everything_settings()  # refuses what is wrong before the work
        if not self.clicks or self.clicks[0] < 1:
            raise SettingsError(f"clicks are {self.clicks}; give numbers from 1.")
        if list(self.clicks) != sorted(set(self.clicks)):
            raise SettingsError(f"clicks are {self.clicks}; give them ascending.")
        if not self.max_objects and not self.everything:
            raise SettingsError(
                "Neither objects nor images for everything mode are to be measured;"
                " make max_objects or everything positive."
            )

    def everything_settings(self) -> EverythingSettings:
        """Return how everything mode is run."""
        return EverythingSettings(
            prompts=self.prompts,
            points_per_side=self.points_per_side,
            # The truth has objects of any size.
            min_area=0,
            max_area_share=self.max_area_share,
        )


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """One object: IoU with the truth, rounded to four places.

    Parameters
    ----------
    image : str
        Name of the sample.
    label, area : int
        Its number in the labels, and its size in pixels.
    clicks, clicks_best, clicks_predicted : tuple of float
        After each of the clicks that were asked for: of the mask the user gets,
        of the best of the three masks, and what the model believed of the first.
    box, box_best, box_predicted : float
        The same for the tight box.
    """

    image: str
    label: int
    area: int
    clicks: tuple[float, ...]
    clicks_best: tuple[float, ...]
    clicks_predicted: tuple[float, ...]
    box: float
    box_best: float
    box_predicted: float


@dataclass(frozen=True, slots=True)
class Row:
    """One model on one source.

    Parameters
    ----------
    source, model : str
        Names.
    fingerprint : str
        Hash of the model's weights.
    images : int
        Images used.
    clicks : tuple of int
        What the entries of the objects' ``clicks`` are.
    objects : tuple of ObjectScore
        Every object.
    precisions : tuple of tuple of float
        TP / (TP + FP + FN) of everything mode at IoU 0.50, 0.55 ... 0.95 for
        each image on which it ran.
    seconds : float
        How long it took.
    """

    source: str
    model: str
    fingerprint: str
    images: int
    clicks: tuple[int, ...] = CLICKS
    objects: tuple[ObjectScore, ...] = ()
    precisions: tuple[tuple[float, ...], ...] = ()
    seconds: float = 0.0

    @property
    def prompts(self) -> tuple[str, ...]:
        """What was measured: ``"1"``, ``"3"``, ``"5"`` for clicks and ``"box"``."""
        return (*map(str, self.clicks), BOX) if self.objects else ()

    def iou(self, prompt: str = "1") -> float:
        """Return the mean IoU of the mask the user gets; NaN without objects."""
        return self._mean(lambda o: self._values(o, prompt)[0])

    def iou_best(self, prompt: str = "1") -> float:
        """Return the mean IoU of the best of the three masks."""
        return self._mean(lambda o: self._values(o, prompt)[1])

    def score_error(self, prompt: str = "1") -> float:
        """Return the mean of |predicted IoU - true IoU|."""
        return self._mean(lambda o: abs(self._overestimate(o, prompt)))

    def score_bias(self, prompt: str = "1") -> float:
        """Return the mean of predicted IoU - true IoU: positive is too sure."""
        return self._mean(lambda o: self._overestimate(o, prompt))

    @property
    def precision(self) -> dict[str, float]:
        """Everything mode at IoU ``"0.5"``, ``"0.75"`` and their ``"mean"``.

        Averaged over images; empty if it was not measured.
        """
        if not self.precisions:
            return {}
        at = [fmean(values) for values in zip(*self.precisions, strict=True)]
        columns = {f"{t:g}": v for t, v in zip(AP_THRESHOLDS, at, strict=True)}
        return {"0.5": columns["0.5"], "0.75": columns["0.75"], "mean": fmean(at)}

    def ranked(self, prompt: str = "1") -> list[ObjectScore]:
        """Return the objects from worst to best, the median in the middle."""
        return sorted(self.objects, key=lambda o: self._values(o, prompt)[0])

    def summary(self) -> dict[str, Any]:
        """Return the means as JSON-able values."""

        def means(measure: Callable[[str], float]) -> dict[str, float]:
            return {p: round(measure(p), 4) for p in self.prompts}

        return {
            "images": self.images,
            "objects": len(self.objects),
            "iou": means(self.iou),
            "iou_best_of_three": means(self.iou_best),
            "score_error": means(self.score_error),
            "score_bias": means(self.score_bias),
            "everything_images": len(self.precisions),
            "everything": {k: round(v, 4) for k, v in self.precision.items()},
        }

    def _mean(self, measure: Callable[[ObjectScore], float]) -> float:
        return fmean(map(measure, self.objects)) if self.objects else float("nan")

    def _values(self, score: ObjectScore, prompt: str) -> tuple[float, float, float]:
        if prompt == BOX:
            return score.box, score.box_best, score.box_predicted
        if prompt not in map(str, self.clicks):
            raise ValueError(f"{prompt!r} was not measured, only {self.prompts}")
        i = self.clicks.index(int(prompt))
        return score.clicks[i], score.clicks_best[i], score.clicks_predicted[i]

    def _overestimate(self, score: ObjectScore, prompt: str) -> float:
        true, _, predicted = self._values(score, prompt)
        return predicted - true


@dataclass(frozen=True, slots=True)
class Report:
    """The result of an evaluation.

    Parameters
    ----------
    rows : tuple of Row
        Source by source, within each model by model.
    settings : EvaluationSettings
        How it was measured.
    problems : tuple of str
        What could not be used, and why.
    """

    rows: tuple[Row, ...]
    settings: EvaluationSettings = field(default_factory=EvaluationSettings)
    problems: tuple[str, ...] = ()

    def row(self, source: str, model: str | None = None) -> Row:
        """Return the row of a source and, if there are several, a model."""
        for row in self.rows:
            if row.source == source and model in (None, row.model):
                return row
        raise KeyError(f"no row of {source!r} and {model!r}")

    def to_json(self) -> str:
        """Return everything as JSON: means first, then every object."""
        rows = []
        for row in self.rows:
            values = asdict(row)
            names = {k: values.pop(k) for k in ("source", "model", "fingerprint")}
            rows.append(names | {"summary": row.summary()} | values)
        content = {
            "settings": asdict(self.settings),
            "problems": self.problems,
            "rows": rows,
        }
        return json.dumps(content, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(text: str) -> Report:
        """Return the report that `to_json` wrote."""
        from pydantic import TypeAdapter

        return TypeAdapter(Report).validate_json(text)

    def to_markdown(self) -> str:
        """Return a table of the means, with a line that says what they are."""
        return "\n".join(_table(self)) + "\n"


def _table(report: Report) -> Iterator[str]:
    rows = report.rows
    with_models = len({row.model for row in rows}) > 1
    prompts = next((row.prompts for row in rows if row.prompts), ())
    scored = [p for p in prompts if p in ("1", BOX)]
    with_precision = any(row.precisions for row in rows)
    heads = ["set", *["model"] * with_models, "images", "objects"]
    heads += [_title(p) for p in prompts]
    heads += [f"score error, {_title(p)}" for p in scored]
    if with_precision:
        heads += ["AP images", "AP 0.5", "AP 0.75", "AP 0.5:0.95"]
    yield _line(heads)
    yield _line(["---"] * len(heads))
    for row in rows:
        cells = [row.source, *[row.model] * with_models]
        cells += [str(row.images), str(len(row.objects))]
        empty = [""] if not row.objects else []
        for p in prompts:
            cells += empty or [f"{row.iou(p):.3f} / {row.iou_best(p):.3f}"]
        for p in scored:
            cells += empty or [f"{row.score_error(p):.3f} ({row.score_bias(p):+.3f})"]
        if with_precision:
            found = row.precision
            cells.append(str(len(row.precisions)))
            cells += [f"{found[k]:.3f}" if found else "" for k in _PRECISIONS]
        yield _line(cells)
    yield ""
    if prompts:
        yield (
            "Mean IoU of the mask the user gets / of the best of three. Score error:"
            " mean of |predicted - true IoU| of the first (mean of the difference)."
        )
    if with_precision:
        yield "AP: TP / (TP + FP + FN) of everything mode, averaged over images."


def _title(prompt: str) -> str:
    if prompt == BOX:
        return BOX
    return "1 click" if prompt == "1" else f"{prompt} clicks"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"
