"""What adaptation gives: new weights, how much better they are, and their file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from napari_sam.core.atomic import make_folder
from napari_sam.models.sam1.checkpoint import encoder_fingerprint, save_network
from napari_sam.models.sam1.sam import SamModel
from napari_sam.models.user_models import free_path

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam.models.sam1.checkpoint import SamNetwork
    from napari_sam.training.adapt.learner import StateDict
    from napari_sam.training.adapt.measure import Scores
    from napari_sam.training.adapt.settings import AdaptSettings

_MOST_NAMES = 20


@dataclass(frozen=True, slots=True)
class Base:
    """The model that was adapted.

    Parameters
    ----------
    name : str
        What it is called.
    licence : str
        Of its weights, and so of what is made from them.
    encoder : str
        Fingerprint of its image encoder.
    """

    name: str
    licence: str
    encoder: str


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """A model that has learnt from objects.

    Parameters
    ----------
    network : SamNetwork
        The whole network in float32, on the CPU.
    changed : tuple of str
        Names of the weights that differ from the base.
    base : Base
        What it was made from.
    before, after : Scores
        How good base and adapted model are on the objects kept aside.
    n_objects, n_aside, n_planes : int
        How many objects were learnt from, how many were kept aside, and on how
        many planes they are.
    images : tuple of str
        Names of the images.
    settings : AdaptSettings
        How it was done.
    seed : int
        Of every random choice.
    seconds : float
        How long it took.
    name : str, optional
        What it has been saved as.
    """

    network: SamNetwork
    changed: tuple[str, ...]
    base: Base
    before: Scores
    after: Scores
    n_objects: int
    n_aside: int
    n_planes: int
    images: tuple[str, ...]
    settings: AdaptSettings
    seed: int
    seconds: float
    name: str | None = None

    @property
    def improved(self) -> bool:
        """Whether the mean IoU over one click, three clicks and box has risen."""
        return self.after.mean > self.before.mean

    @property
    def weights(self) -> StateDict:
        """The weights that differ from the base, by name."""
        state = self.network.state_dict()
        return {name: state[name] for name in self.changed}

    @property
    def shares_embeddings(self) -> bool:
        """Whether embeddings of the base can be used on."""
        return encoder_fingerprint(self.network) == self.base.encoder

    @property
    def summary(self) -> str:
        """Before and after in one line, for the user."""
        objects = "1 object" if self.n_aside == 1 else f"{self.n_aside} objects"
        return (
            f"1 click {self.before.one_click:.2f} → {self.after.one_click:.2f}, "
            f"3 clicks {self.before.three_clicks:.2f} → {self.after.three_clicks:.2f}, "
            f"box {self.before.box:.2f} → {self.after.box:.2f} "
            f"on {objects} kept aside"
        )

    def model(
        self, name: str = "adapted", device: str = "auto", dtype: str = "auto"
    ) -> SamModel:
        """Return it ready to use, without a file.

        Parameters
        ----------
        name : str
            What it is called.
        device, dtype : str
            As for :func:`napari_sam.load_model`.
        """
        return SamModel.from_network(
            self.network, name=name, device=device, dtype=dtype
        )

    def save(self, name: str, folder: Path | None = None) -> Path:
        """Write it where :func:`napari_sam.list_models` finds it.

        The file says what it was made from and how good it was.  It appears
        complete or not at all.

        Parameters
        ----------
        name : str
            What to call it; if there is a model of that name, ``name-2``.
        folder : Path, optional
            :func:`napari_sam.models.models_folder` by default.

        Returns
        -------
        Path
            The file; its stem is the name.

        Raises
        ------
        SettingsError
            If the name is not usable.
        FileFormatError
            If the file cannot be written; nothing is left of it.
        """
        path = free_path(name, folder)
        make_folder(path.parent)
        # Half precision where nothing is lost by it, so that an encoder that was
        # not touched keeps its fingerprint.
        save_network(self.network, path, self._metadata(path.stem), dtype=None)
        return path

    def _metadata(self, name: str) -> dict[str, str]:
        images = list(dict.fromkeys(n for n in self.images if n))
        shown = ", ".join(images[:_MOST_NAMES]) or "images without a name"
        if len(images) > _MOST_NAMES:
            shown += f" and {len(images) - _MOST_NAMES} more"
        planes = "1 plane" if self.n_planes == 1 else f"{self.n_planes} planes"
        today = datetime.now(UTC)
        return {
            "name": name,
            "description": (
                f"{self.base.name} adapted on {today:%Y-%m-%d} to {self.n_objects} "
                f"objects on {planes} of {shown}; {self.summary}"
            ),
            "licence": self.base.licence,
            "use_for": f"images like {images[0]}" if images else "",
            "base": self.base.name,
            "base_encoder": self.base.encoder,
            "trained_on": f"{self.n_objects} objects on {planes}: {shown}",
            "date": today.isoformat(timespec="seconds"),
            "figures": json.dumps(
                {
                    "objects_aside": self.n_aside,
                    "before": self.before.to_json(),
                    "after": self.after.to_json(),
                }
            ),
            "recipe": json.dumps({**asdict(self.settings), "seed": self.seed}),
        }
