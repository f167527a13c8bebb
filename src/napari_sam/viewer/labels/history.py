"""napari's undo history of a Labels layer, followed from outside.

napari tells nobody what an undo did.  So every change, ours and the user's strokes, is
kept as a transaction in the order in which napari has it, and when the layer refreshes,
the newest one whose pixels hold their old values was undone.  A hidden layer refreshes
after no undo, so that several may have been undone by the next look; then the pixels of
all steps say up to where.

An object may become another's daughter without a pixel that changes.  napari has no
such step: who undoes through us undoes it by itself, and napari's own undo takes it
back with the pixels that were changed before it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np

from napari_sam.core.annotation.transaction import PixelChange, Transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from napari.layers import Labels

LENGTH = 100
"""Steps followed; as many as napari keeps."""


class UndoHistory:
    """The steps that napari can undo and redo, newest last."""

    def __init__(self) -> None:
        self._done: list[Transaction] = []
        self._undone: list[Transaction] = []
        # napari announces some strokes before it writes them.
        self._unseen: Transaction | None = None

    @property
    def newest(self) -> Transaction | None:
        """What an undo would take back."""
        return self._done[-1] if self._done else None

    @property
    def next_redone(self) -> Transaction | None:
        """What a redo would repeat."""
        return self._undone[-1] if self._undone else None

    def push(self, step: Transaction, labels: Any, *, is_written: bool = True) -> None:
        """Add a step; what was undone cannot be redone any more.

        Only after a step without pixels napari can still redo what it has undone.
        """
        self._undone = [s for s in self._undone if s.pixels and not step.pixels]
        self._done.append(step)
        for is_pixels in (True, False):
            for old in [s for s in self._done if bool(s.pixels) is is_pixels][:-LENGTH]:
                self._done.remove(old)
        if step.pixels:
            self._unseen = None if is_written else step
        self.look(labels)

    def push_undone(self, step: Transaction) -> None:
        """Add a step that can be redone."""
        self._undone.append(step)

    def drop_newest(self) -> None:
        """Forget the newest step."""
        self._done.pop()

    def redo_next(self) -> None:
        """Note that the step undone last is done again."""
        self._done.append(self._undone.pop())

    def clear(self) -> None:
        """Forget everything: napari has."""
        self._done.clear()
        self._undone.clear()
        self._unseen = None

    def look(self, labels: Any) -> None:
        """Note whether a stroke that was announced is there by now."""
        step = self._unseen
        if step is not None and _is_shown(step, labels, before=False):
            self._unseen = None

    def iter_undone(
        self, labels: Any, position: int | None = None
    ) -> Iterator[Transaction]:
        """Yield the steps that are undone since the last look, newest first.

        Parameters
        ----------
        labels : array
            The labels now.
        position : int, optional
            How many steps are done, from `position`, if that had to be found out.
        """
        self.look(labels)
        if position is not None:
            while len(self._done) > position:
                yield self._done.pop()
            return
        # One undo may be followed by another before the next refresh.
        while (step := _with_pixels(self._done)) is not None:
            if step is self._unseen or not _is_shown(step, labels, before=True):
                return
            # What came after it and changed no pixels goes with it.
            while self._done[-1] is not step:
                yield self._done.pop()
            yield self._done.pop()

    def iter_redone(
        self, labels: Any, position: int | None = None
    ) -> Iterator[Transaction]:
        """Yield the steps that are done again since the last look.

        Parameters are those of `iter_undone`.
        """
        while (last := _with_pixels(self._undone)) is not None and (
            _is_shown(last, labels, before=False)
            if position is None
            else len(self._done) < position
        ):
            while self._undone[-1] is not last:
                self.redo_next()
                yield self._done[-1]
            self.redo_next()
            yield last

    def seems_redone(self, labels: Any) -> bool:
        """Whether a redo is likelier than an undo, where the labels show both.

        What takes an earlier step's pixels back is redone, and looks as if that one had
        been undone.  Then the change of more pixels is the one that happened.
        """
        newest, last = _with_pixels(self._done), _with_pixels(self._undone)
        return (
            newest is not None
            and last is not None
            and newest.size < last.size
            and _is_shown(last, labels, before=False)
        )

    def position(self, labels: Any) -> int:
        """Return how many steps are done, the nearest number that the labels show.

        For a layer that may have told nothing of an undo: it reads all their pixels.
        """
        self.look(labels)
        now = len(self._done)
        steps = [*self._done, *reversed(self._undone)]
        if _with_pixels(steps) is None or self._unseen is not None:
            return now
        shown = _Touched(steps, labels)
        return next(
            (
                at
                for at in sorted(range(len(steps) + 1), key=lambda at: abs(at - now))
                if shown.are_done(at)
            ),
            now,
        )


_known: WeakKeyDictionary[Labels, tuple[ref[Any], UndoHistory]] = WeakKeyDictionary()


def history_of(layer: Labels) -> UndoHistory:
    """Return the history of a layer: the same one as long as it has the same array.

    napari keeps its own with the layer, too.  So who has annotated other labels for a
    while, or has closed the dock, can still undo what was written before.
    """
    # Plugins are given proxies, of which each is a new one.
    layer = getattr(layer, "__wrapped__", layer)
    known = _known.get(layer)
    if known is not None and known[0]() is layer.data:
        return known[1]
    history = UndoHistory()
    with suppress(TypeError):
        _known[layer] = ref(layer.data), history
    return history


def _with_pixels(steps: Sequence[Transaction]) -> Transaction | None:
    """Return the newest step that changes pixels."""
    return next((step for step in reversed(steps) if step.pixels), None)


def _is_shown(step: Transaction, labels: Any, *, before: bool) -> bool:
    # Changes of a step lie on different planes, so their order does not matter.
    return all(c.is_shown_by(labels, before=before) for c in step.pixels)


class _Touched:
    """The pixels that some steps change, one after another, and what they hold now.

    Parameters
    ----------
    steps : sequence of Transaction
        In order.
    labels : array
        The labels now.
    """

    def __init__(self, steps: Sequence[Transaction], labels: Any) -> None:
        changes = [(n, c) for n, step in enumerate(steps) for c in step.pixels]
        at = np.concatenate(
            [np.ravel_multi_index(c.indices, labels.shape) for _, c in changes]
        )
        number = np.concatenate([np.full(c.size, n) for n, c in changes])
        now = np.concatenate([np.asarray(labels[c.box])[c.mask] for _, c in changes])
        order = np.lexsort((number, at))
        at, self._number = at[order], number[order]
        self._before = np.concatenate([c.before for _, c in changes])[order]
        self._after = np.concatenate([c.after for _, c in changes])[order]
        _, self._first, self._pixel = np.unique(
            at, return_index=True, return_inverse=True
        )
        self._now = now[order][self._first]

    def are_done(self, count: int) -> bool:
        """Whether just the first ``count`` of the steps are done."""
        done = np.bincount(
            self._pixel, self._number < count, minlength=len(self._first)
        ).astype(np.intp)
        # The last that is done says what a pixel holds, or else the first that is not.
        after = self._after[self._first + np.maximum(done - 1, 0)]
        expected = np.where(done > 0, after, self._before[self._first])
        return bool(np.array_equal(expected, self._now))


def painted_change(
    atoms: Iterable[Any], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> PixelChange | None:
    """Return the pixels of one undo step of napari, from its ``paint`` event.

    Parameters
    ----------
    atoms : iterable
        Value of the event: per edit either a box, a mask in it, old values and the new
        value, or indices, old and new values.
    shape : tuple of int
        Of the labels array.
    dtype : dtype
        Of the labels array.

    Returns
    -------
    PixelChange or None
        None if no pixel changes in the end.

    Raises
    ------
    ValueError, TypeError, AttributeError
        If this napari writes its history in another way.
    """
    flat, old, new = [], [], []
    for atom in atoms:
        if hasattr(atom, "slice_key"):
            box, mask = atom.slice_key, atom.mask
            size = tuple(
                len(range(*s.indices(n))) for s, n in zip(box, shape, strict=True)
            )
            inside = np.nonzero(np.ones(size, bool) if mask is None else mask)
            starts = [s.indices(n)[0] for s, n in zip(box, shape, strict=True)]
            indices = tuple(i + s for i, s in zip(inside, starts, strict=True))
            before, after = np.ravel(atom.old_values), atom.new_value
        else:
            indices, before, after = atom
            indices = tuple(np.ravel(i) for i in indices)
        # Negative indices count from the end.
        at = np.ravel_multi_index(indices, shape, mode="wrap")
        flat.append(at)
        old.append(np.broadcast_to(np.asarray(before, dtype).ravel(), at.shape))
        new.append(np.broadcast_to(np.asarray(after, dtype).ravel(), at.shape))
    if not flat:
        return None
    all_flat = np.concatenate(flat)
    pixels, first = np.unique(all_flat, return_index=True)
    _, last = np.unique(all_flat[::-1], return_index=True)
    before = np.concatenate(old)[first]
    after = np.concatenate(new)[::-1][last]
    changed = before != after
    if not changed.any():
        return None
    indices = np.unravel_index(pixels[changed], shape)
    start = tuple(int(i.min()) for i in indices)
    mask = np.zeros(
        tuple(int(i.max()) - s + 1 for i, s in zip(indices, start, strict=True)), bool
    )
    mask[tuple(i - s for i, s in zip(indices, start, strict=True))] = True
    return PixelChange(start, mask, before[changed], after[changed])
