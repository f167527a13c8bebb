"""Lineage: which objects of labels are daughters of which, and who said so.

It is recorded beside the objects, changes with them in transactions, and is kept in
journals and projects.  A daughter that is not in the labels stays recorded, so that
nothing is lost when pixels are erased and brought back; `Lineage.fitting` is what the
labels show of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_sam.core.volumes.marked import MarkedDivisions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_sam.core.volumes.marked import Segment


@dataclass(frozen=True, slots=True)
class Descent:
    """Origin of a track.

    Parameters
    ----------
    mother : int
        The track that divided; 0 of a track of which a person said that it is nobody's
        daughter.
    marked : bool
        Whether a person said so.  What linking proposed is not kept when the labels are
        linked again.
    was : int or None
        The number that the daughter had until the division was marked: the mother's, if
        she went on under it.  None if she had her own.
    """

    mother: int
    marked: bool = False
    was: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        value: dict[str, Any] = {"mother": self.mother}
        if self.marked:
            value["marked"] = True
        if self.was is not None:
            value["was"] = self.was
        return value

    @staticmethod
    def from_json(value: Any) -> Descent:
        """Rebuild it; raises KeyError, TypeError or ValueError if damaged."""
        was = value.get("was")
        mother = int(value["mother"])
        if mother < 0:
            raise ValueError(f"{mother} is no track")
        marked = bool(value.get("marked", False))
        return Descent(mother, marked, None if was is None else int(was))


@dataclass(frozen=True, slots=True)
class Lineage:
    """Descent of the tracks in labels.

    Parameters
    ----------
    time : bool
        Whether the labels are tracks: linked along time, or with a division marked.
    descents : dict of int to Descent
        By daughter.
    """

    time: bool = False
    descents: Mapping[int, Descent] = field(default_factory=dict)

    @property
    def graph(self) -> dict[int, tuple[int, ...]]:
        """The parents of each daughter, as napari's Tracks layer has them."""
        return {d: (own.mother,) for d, own in self.descents.items() if own.mother}

    def fitting(self, spans: Mapping[int, tuple[int, int]]) -> Lineage:
        """Return what the labels show of it: daughters that begin after their mothers.

        Parameters
        ----------
        spans : dict of int to (int, int)
            First and last frame of each track, from `Tracks.spans`.
        """

        def fits(daughter: int, mother: int) -> bool:
            if daughter not in spans or not mother:
                return daughter in spans
            return mother in spans and spans[mother][1] < spans[daughter][0]

        kept = {d: own for d, own in self.descents.items() if fits(d, own.mother)}
        return replace(self, descents=kept)

    def changed(self, before: Lineage, after: Lineage) -> Lineage:
        """Return this lineage with what differs between two others changed alike."""
        descents = dict(self.descents)
        for daughter in before.descents.keys() | after.descents.keys():
            own = after.descents.get(daughter)
            if own == before.descents.get(daughter):
                continue
            if own is None:
                descents.pop(daughter, None)
            else:
                descents[daughter] = own
        return Lineage(after.time if after.time != before.time else self.time, descents)

    def marked(self, spans: Mapping[int, tuple[int, int]]) -> MarkedDivisions:
        """Return what a person said, by segments, for linking anew.

        Parameters
        ----------
        spans
            As for `fitting`.
        """
        mothers: dict[Segment, Segment] = {}
        orphans: set[Segment] = set()
        for daughter, own in self.fitting(spans).descents.items():
            first = (spans[daughter][0], daughter)
            if own.marked and own.mother:
                mothers[first] = (spans[own.mother][1], own.mother)
            elif own.marked:
                orphans.add(first)
        return MarkedDivisions(mothers, frozenset(orphans))

    def relinked(
        self,
        spans: Mapping[int, tuple[int, int]],
        numbers: Mapping[Segment, int],
        graph: Mapping[int, tuple[int, ...]],
    ) -> Lineage:
        """Return the lineage of tracks that were linked anew.

        Parameters
        ----------
        spans
            As for `fitting`, before.
        numbers : dict of (int, int) to int
            New number of each segment, by frame and number before.
        graph : dict of int to tuple of int
            What linking found: the mother of each daughter.  With the divisions of
            `marked`.
        """
        descents = {d: Descent(mothers[0]) for d, mothers in sorted(graph.items())}
        begins: dict[int, int] = {}
        for (frame, _), number in numbers.items():
            begins[number] = min(frame, begins.get(number, frame))
        for daughter, own in self.fitting(spans).descents.items():
            new = numbers.get((spans[daughter][0], daughter))
            if not own.marked or new is None:
                continue
            if not own.mother and begins[new] == spans[daughter][0]:
                descents.setdefault(new, own)
            elif own.mother and new in descents:
                was = own.was
                if was is not None and was in spans:
                    was = numbers.get((spans[was][1], was))
                descents[new] = replace(descents[new], marked=True, was=was)
        return Lineage(time=True, descents=descents)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; empty if there is nothing to tell."""
        if not self.time and not self.descents:
            return {}
        daughters = {str(d): own.to_json() for d, own in self.descents.items()}
        return {"time": self.time, "daughters": daughters}

    @staticmethod
    def from_json(value: Any) -> Lineage:
        """Rebuild it; what cannot be read is passed over."""
        if not isinstance(value, dict):
            return Lineage()
        descents = {}
        daughters = value.get("daughters")
        for daughter, own in daughters.items() if isinstance(daughters, dict) else ():
            try:
                descents[int(daughter)] = Descent.from_json(own)
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                # Written by somebody else: the labels are still good.
                continue
        return Lineage(bool(value.get("time", False)), descents)
