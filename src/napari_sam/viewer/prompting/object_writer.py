"""From drafts to labels: what an accept writes, as one transaction."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.core.annotation.prompts import PromptItems, split_by_object
from napari_sam.core.annotation.records import ObjectRecord, PlaneMask, Source
from napari_sam.core.annotation.transaction import ObjectMask, RecordChange
from napari_sam.core.masks import OverlapPolicy
from napari_sam.types import MaskCrop, Region
from napari_sam.viewer.labels.object_changes import write_objects
from napari_sam.viewer.prompting.draft import AcceptedObject
from napari_sam.viewer.settings import POLICY_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt

    from napari_sam.core.annotation.transaction import PixelPlan, Transaction
    from napari_sam.core.volumes.followed import Followed
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.labels.target import LabelsTarget
    from napari_sam.viewer.prompting.draft import ObjectDraft

_SHARE_TOLD = 0.1
"""Share of a preview that others keep and the user is told of: touching objects share
some pixels of their edges, and who sees both knows that."""


@dataclass(frozen=True, slots=True, eq=False)
class DraftMask:
    """One object of a draft on one plane.

    Parameters
    ----------
    object : ObjectMask
        What is to be written.
    score : float
        Predicted IoU, or the confidence of a slice that was found.
    corrections : int
        Prompts that corrected the object on this plane.
    shown : integer array (N,)
        The labels under the pixels of the preview, before the write.
    """

    object: ObjectMask
    score: float
    corrections: int
    shown: npt.NDArray[Any]


class ObjectWriter:
    """Writes drafts into the chosen labels.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    make_target : callable
        Creates and binds a Labels layer when there is none yet.
    """

    def __init__(self, context: Context, make_target: Callable[[], None]) -> None:
        self._context = context
        self._make_target = make_target

    def write(self, draft: ObjectDraft) -> Transaction | None:
        """Write a draft as one undo step; None if no pixel had to change.

        Raises
        ------
        LabelsError
            If the labels cannot hold it.
        """
        context = self._context
        if context.target is None:
            self._make_target()
        target, encoder = context.target, context.encoder
        if target is None or encoder is None:
            return None
        target.catch_up()
        known = draft.first_label
        first = target.next_label if known is None else known
        drawn = list(_masks(draft, first, target))
        # What the user did not look at closely does not take others' pixels.
        policy = OverlapPolicy.KEEP if draft.is_proposal else context.settings.policy
        plan = target.plan([d.object for d in drawn], policy)
        if not plan.changes:
            return None
        model = encoder.engine.model
        groups: dict[int, list[DraftMask]] = {}
        for one in drawn:
            groups.setdefault(one.object.label, []).append(one)
        changes = []
        for label, group in groups.items():
            old = target.records.get(label)
            record = _record(draft, group, old, plan, label - first)
            record = record.by(model.name, model.fingerprint)
            changes.append(RecordChange(label, old, record if record.masks else None))
        return write_objects(target, plan, changes, _accepted(draft, drawn, policy))

    def write_live(self, draft: ObjectDraft) -> None:
        """Write a draft in place of what is written of it so far.

        If the user edited the labels in between, the earlier undo step stays
        and a second one is made.
        """
        target, before = self._context.target, draft.live
        if before is not None and target is not None and target.take_back(before):
            draft.live = None
        draft.live = self.write(draft) or draft.live
        draft.live_of = draft.content

    def retract_live(self, draft: ObjectDraft) -> None:
        """Take what is written of a draft out of the labels again.

        Raises
        ------
        LabelsError
            If they refuse to be written; it stays in them as if it were accepted.
        """
        before, draft.live = draft.live, None
        if before is not None and self._context.target is not None:
            self._context.target.take_back(before)

    def has_pixels(self, draft: ObjectDraft) -> bool:
        """Whether a draft is in the labels already, where it would be written."""
        target = self._context.target
        return (
            target is not None
            and draft.label is not None
            and any(
                m.object.previous is not None
                for m in _masks(draft, draft.label, target)
            )
        )


def _masks(draft: ObjectDraft, first: int, target: LabelsTarget) -> Iterable[DraftMask]:
    """Yield what is to be written; labels count up over several boxes."""
    for answer in draft.to_write:
        for offset, (candidate, corrections) in enumerate(
            zip(answer.candidates, answer.corrections, strict=True)
        ):
            if candidate.mask.area == 0:
                continue
            label = first + offset
            # A label not in use yet has no old pixels to look for.
            in_use = label < target.next_label
            previous = target.mask_of(label, answer.plane) if in_use else None
            mask = candidate.mask
            yield DraftMask(
                ObjectMask(label, answer.plane, mask, previous),
                candidate.score,
                corrections,
                target.read(answer.plane, mask.region)[mask.mask],
            )
    if draft.followed is not None:
        yield from _followed_masks(draft, draft.followed, first, target)


def _followed_masks(
    draft: ObjectDraft, followed: Followed, label: int, target: LabelsTarget
) -> Iterable[DraftMask]:
    """Yield what was found on other slices, and what the object gives up on others.

    No pixel of another object is taken, whatever is chosen for what the user marks.
    """
    in_use = label < target.next_label
    answered = {answer.plane.index for answer in draft.to_write}
    planes = {followed.plane(p): found for p, found in followed.to_write.items()}
    for plane, (mask, confidence) in planes.items():
        if plane.index in answered:
            continue
        labels = target.read(plane, mask.region)
        free = mask.mask & ((labels == 0) | (labels == label))
        previous = target.mask_of(label, plane) if in_use else None
        if free.any() or previous is not None:
            crop = MaskCrop(free, mask.region)
            yield DraftMask(
                ObjectMask(label, plane, crop, previous),
                confidence,
                0,
                labels[mask.mask],
            )
    record = target.records.get(label) if in_use else None
    known = {followed.plane(p) for p in followed.prompted} | planes.keys()
    for one in record.masks if record is not None else ():
        position = followed.position(one.plane)
        if position is None or followed.plane(position) in known:
            continue
        previous = target.mask_of(label, one.plane)
        if previous is not None:
            nothing = MaskCrop(np.zeros((0, 0), bool), Region(0, 0, 0, 0))
            erased = ObjectMask(label, one.plane, nothing, previous)
            yield DraftMask(erased, float("nan"), 0, np.zeros(0, int))


def _accepted(
    draft: ObjectDraft, drawn: Iterable[DraftMask], policy: OverlapPolicy
) -> AcceptedObject:
    """Return what an undo brings back, with the pixels that others keep."""
    own = {one.object.label for one in drawn}
    n_previewed, n_taken = 0, Counter[int]()
    for one in drawn:
        n_previewed += one.shown.size
        is_cut = one.object.mask.area < one.shown.size
        if policy is not OverlapPolicy.OVERWRITE or is_cut:
            labels, counts = np.unique(one.shown[one.shown > 0], return_counts=True)
            n_taken.update(dict(zip(labels.tolist(), counts.tolist(), strict=True)))
    taken = {label: n for label, n in n_taken.items() if label not in own}
    return AcceptedObject(draft.copy(), n_previewed, taken)


def _record(
    draft: ObjectDraft,
    group: list[DraftMask],
    old: ObjectRecord | None,
    plan: PixelPlan,
    number: int,
) -> ObjectRecord:
    """Return what is to be recorded about one object of a draft."""
    label = group[0].object.label
    adopted = draft.adopted
    source = adopted.source if adopted is not None else Source.PROMPTS
    corrections = sum(m.corrections for m in group)
    if old is not None:
        source = old.source
        corrections += old.corrections
    if any(m.object.previous is not None for m in group) and (
        old is None or old.items.is_empty
    ):
        # It was there without prompts, so that its first one corrects it.
        corrections += 1
    if draft.is_proposal:
        # The prompt that stands for a proposal is not the user's.
        items = PromptItems()
    else:
        # Its own share of the prompts, so that it can be refined alone.
        parts = split_by_object(draft.items)
        items = parts[number] if number < len(parts) else draft.items
    record = ObjectRecord(
        label,
        items,
        "",
        min((m.score for m in group if m.object.mask.area), default=float("nan")),
        source,
        corrections,
        corrected=source is not Source.PROMPTS and not draft.is_proposal,
        masks=old.masks if old is not None else (),
        stability=adopted.stability
        if adopted is not None and draft.is_proposal
        else float("nan"),
    )
    return record.with_masks(
        PlaneMask(
            m.object.plane,
            plan.digests[label, m.object.plane],
            confirmed=True,
            score=m.score,
        )
        for m in group
    )


def why_nothing(draft: ObjectDraft, policy: OverlapPolicy) -> str:
    """Say why an accept of a draft wrote nothing."""
    if any(c.mask.area for a in draft.to_write for c in a.candidates):
        return (
            f"No pixel is free there with the choice '{POLICY_NAMES[policy]}': nothing "
            "was written."
        )
    return "Nothing was found there, so nothing was written: add a point or draw a box."


def said_of(
    transaction: Transaction, draft: ObjectDraft, *, is_live: bool, then: str
) -> str:
    """Return what was written in words, on how many slices, and what comes then."""
    numbers = [
        r.label
        for r in transaction.records
        if r.after is not None and (r.before is None or r.label == draft.label)
    ]
    what = f"Object {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} objects"
    rest = _said_rest(transaction.origin)
    if is_live:
        return f"{what} done.{rest}  {then}."
    answered = [
        a.plane for a in draft.to_write if any(c.mask.area for c in a.candidates)
    ]
    found = list(answered)
    records = [r.after for r in transaction.records if r.label in numbers and r.after]
    has = {m.plane.index for record in records for m in record.masks}
    if draft.followed is not None:
        found += [draft.followed.plane(p) for p in draft.followed.to_write]
    count = sum(plane.index in has for plane in found)
    where = f" on {count} slices" if count > 1 else ""
    missing, taken = len(draft.planes) - len(answered), len(found) - count
    if missing:
        where += f" (nothing was found on {missing} more)"
    if taken:
        where += f" (no pixel was free on {taken} more)"
    if draft.followed is not None and not draft.followed.is_finished:
        return (
            f"{what} written{where} only: following it was stopped.{rest}  J picks it, "
            f"Shift+T goes on.  {then}"
        )
    return f"{what} written{where}.{rest}  {then} · Ctrl+Z takes it back"


def _said_rest(accepted: AcceptedObject) -> str:
    """Say who keeps the rest of a preview; empty if nearly all of it was written."""
    taken = sorted(accepted.n_taken, key=accepted.n_taken.__getitem__, reverse=True)
    lost = sum(accepted.n_taken.values())
    if not lost or lost < accepted.n_previewed * _SHARE_TOLD:
        return ""
    first, *more = taken
    who = f"object {first}"
    if len(more) == 1:
        who = f"objects {first} and {more[0]}"
    elif more:
        who = f"object {first} and {len(more)} others"
    return (
        f"  The rest of the preview, {lost:,} of {accepted.n_previewed:,} pixels, "
        f"belongs to {who}."
    )
