"""The state of a training run: weights, their average, and the optimizer's.

It is kept as one safetensors file, so that reading it runs nothing, and written
beside the old one before it takes its place: a run that is killed or meets a
full disk can always be resumed from a whole file.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from napari_sam.core.atomic import replacing
from napari_sam.errors import FileFormatError
from napari_sam.training.finetune.recipe import Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam.models.sam1.checkpoint import SamNetwork

_NECK = "image_encoder.neck."
_ENCODER = "image_encoder."
_HEAD = "prompt_head."


class TrainingState:
    """A network that is being trained.

    Parameters
    ----------
    network : SamNetwork
        The weights to begin with; it is changed in place.
    recipe : Recipe
        What to train and how.
    device : torch.device
        Where to.
    """

    def __init__(
        self, network: SamNetwork, recipe: Recipe, device: torch.device
    ) -> None:
        self.network = network.to(device).float()
        self.recipe = recipe
        self.device = device
        self.step = 0
        self._select()
        self.average = {
            name: value.detach().clone() for name, value in self.trained().items()
        }
        self._optimizer = torch.optim.AdamW(self._groups(), betas=(0.9, 0.98))

    @property
    def trains_encoder(self) -> bool:
        """Whether any part of the image encoder is trained."""
        return any(name.startswith(_ENCODER) for name in self.trained())

    def trained(self) -> dict[str, nn.Parameter]:
        """Return the parameters that are trained, by name."""
        return {n: p for n, p in self.network.named_parameters() if p.requires_grad}

    def apply_gradients(self) -> float:
        """Make one step with the gradients there are; return their norm."""
        parameters = list(self.trained().values())
        norm = nn.utils.clip_grad_norm_(parameters, self.recipe.clip)
        rate = self.recipe.rate(self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * group["factor"] * rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        # The average begins as the weights and forgets them as it goes on.
        decay = min(self.recipe.average, self.step / (self.step + 10))
        with torch.no_grad():
            for name, value in self.trained().items():
                self.average[name].lerp_(value, 1 - decay)
        return float(norm)

    def averaged(self) -> dict[str, Tensor]:
        """Return a whole state dictionary with the averaged weights."""
        return {**self.network.state_dict(), **self.average}

    def save(self, path: Path, extra: dict[str, str] | None = None) -> None:
        """Write everything needed to go on.

        Raises
        ------
        FileFormatError
            If the file cannot be written; an older one stays as it was.
        """
        tensors = {f"model.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for name, parameter in self.trained().items():
            for key, value in self._optimizer.state[parameter].items():
                tensors[f"{key}.{name}"] = torch.as_tensor(value)
        content = {
            "format": "napari-sam training state",
            "step": str(self.step),
            "recipe": json.dumps(self.recipe.to_json()),
            **(extra or {}),
        }
        flat = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        with replacing(path) as aside:
            aside.write_bytes(save(flat, content))

    def load(self, path: Path) -> None:
        """Go on from a file that :meth:`save` wrote.

        The recipe may have more steps than the one in the file; whatever else
        differs would make another run and is refused.

        Raises
        ------
        FileFormatError
            If the file is damaged or belongs to another recipe or model.
        """
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                content = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            step, recipe = int(content["step"]), json.loads(content["recipe"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise FileFormatError(
                f"{path.name} is not a training state that can be resumed ({error}); "
                f"start the run again in another folder."
            ) from error
        self._check(path, step, recipe)
        parts: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            part, _, name = key.partition(".")
            parts.setdefault(part, {})[name] = value.to(self.device)
        trained = self.trained()
        if parts.get("average", {}).keys() != trained.keys():
            raise FileFormatError(
                f"{path.name} trained other parts of a model than {self.recipe.parts}; "
                f"start the run again in another folder."
            )
        if parts.get("model", {}).keys() != self.network.state_dict().keys():
            raise FileFormatError(
                f"{path.name} is of a model with other parts, as an older version "
                f"made it; start the run again in another folder."
            )
        self.network.load_state_dict(parts.pop("model"))
        self.average = parts.pop("average")
        for part, values in parts.items():
            for name, value in values.items():
                # The count of steps stays on the CPU, where the optimizer has it.
                kept = value.cpu() if part == "step" else value
                self._optimizer.state[trained[name]][part] = kept
        self.step = step

    def _check(self, path: Path, step: int, recipe: dict[str, object]) -> None:
        mine = self.recipe.to_json()
        longer = Recipe.from_json(dict(recipe))
        theirs = longer.to_json()  # with what older files do not name
        # What depends on the number of steps begins with the cooldown.
        plateau = longer.steps - max(1, round(longer.steps * longer.cooldown))
        plateau = min(plateau, longer.steps - longer.fine_steps)
        finish = {"keep", "score_shift"}
        free = finish | {"steps", "cooldown", "fine_steps"}
        if not longer.fine_share:
            free |= {"fine_side", "fine_images"}
        if step > plateau:
            free = finish
        differs = sorted(k for k, v in theirs.items() if k not in free and mine[k] != v)
        if differs:
            name = differs[0]
            raise FileFormatError(
                f"{path.name} was made at step {step} with {name} = {theirs[name]}, "
                f"not {mine[name]}; resume with the same recipe, or start again in "
                f"another folder."
            )

    def _select(self) -> None:
        parts = self.recipe.parts
        for name, parameter in self.network.named_parameters():
            is_encoder = name.startswith(_ENCODER)
            wanted = (
                parts == "all"
                or not is_encoder
                or (parts == "decoder+neck" and name.startswith(_NECK))
            )
            parameter.requires_grad_(wanted)

    def _groups(self) -> list[dict[str, object]]:
        """Group parameters by learning rate, and by whether they decay."""
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, parameter in self.trained().items():
            factor = 1.0
            if name.startswith(_ENCODER):
                factor = self.recipe.encoder_rate
            elif name.startswith(_HEAD):
                factor = self.recipe.head_rate
            decays = parameter.ndim > 1 and "embed" not in name
            groups.setdefault((factor, decays), []).append(parameter)
        return [
            {
                "params": parameters,
                "factor": factor,
                "lr": 0.0,
                "weight_decay": self.recipe.weight_decay if decays else 0.0,
            }
            for (factor, decays), parameters in groups.items()
        ]
