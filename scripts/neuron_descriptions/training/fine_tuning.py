"""Fine-tuning that goes on where it was killed, to the same weights."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from neuron_descriptions.common.logs import Progress, logger
from neuron_descriptions.common.provenance import file_digest
from neuron_descriptions.common.storage import whole
from neuron_descriptions.common.streams import key
from neuron_descriptions.models.loading import load_model
from neuron_descriptions.models.processor import reduced_precision_is_fast

WARM_UP = 0.05  # share of the steps
HELD_OUT = 10  # one neuron in so many is never learnt from


class Steps(Protocol):
    """How long: settings of any training."""

    @property
    def steps(self) -> int:
        """Steps in all."""

    @property
    def validate_every(self) -> int:
        """Steps between validations, and between checkpoints."""


@dataclass(slots=True, frozen=True)
class Checkpoints:
    """Where a killed job is gone on from, to the same result."""

    folder: str
    """It outlives the job."""
    code: str
    """Digest of the training's code: checkpoints of other code are left alone."""

    def path(self, name: str, seed: int, settings: str, files: Iterable[str]) -> Path:
        """A path, without its suffix, that stands for the content of what is learnt from and how."""
        return Path(self.folder) / f"{name}{key(self.code, seed, settings, *map(file_digest, files)):016x}"


def is_held_out(layer: int, neuron: int) -> bool:
    """Whether a neuron is never learnt from, whatever else is in the run."""
    return key("held out", layer, neuron) % HELD_OUT == 0


def load_base(folder: str, dtype: str, threads: int, device_map: str | None) -> Any:
    """Load the model that is trained, in float32 on a processor without bfloat16; device_map: see load_model. Raises
    ValueError where "auto" finds too little room for it, since weights that are spilled cannot learn."""
    dtype = dtype if reduced_precision_is_fast() else "float32"
    model = load_model(folder, dtype, True, threads, device_map, train=True)
    if any(p.is_meta for p in model.parameters()):
        raise ValueError(
            f"device_map: auto: {folder} does not fit into this job's devices, and weights that are spilled to disk or"
            " main memory cannot be trained; ask for more GPUs, or name a smaller base"
        )
    return model


def mixed_precision(device: torch.device) -> torch.autocast:
    """Matrix products in bfloat16, but on processors without it, where they would take ten times as long."""
    return torch.autocast(device.type, torch.bfloat16, enabled=reduced_precision_is_fast())


def with_low_rank(model: Any, rank: int, seed: int) -> Any:
    """The model with low-rank adapters on all its linear layers but the outputs, which alone are trainable (Hu et al.
    2021, "LoRA"). seed: of their weights."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed % 2**63)
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))


def save_adapter(model: Any, base: str, folder: Path) -> None:
    """Write a model's adapters, bfloat16, into a folder; base: the name that they say they were made for."""
    config = model.peft_config["default"]
    config.base_model_name_or_path = base  # else a path of this machine
    config.target_modules = sorted(config.target_modules)  # a set, written in any order
    states = {n: p.to(torch.bfloat16) for n, p in model.state_dict().items() if "lora_" in n}
    model.save_pretrained(folder, state_dict=states, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty card


def passes(lengths: list[int], most: int) -> Iterator[slice]:
    """Examples in turn, as many in a pass as fit into `most` tokens, padded to the longest of them all."""
    size = max(1, most // max(lengths))
    for at in range(0, len(lengths), size):
        yield slice(at, at + size)


class Fit:
    """Fine-tuning that goes on from its checkpoint. AdamW; the rate rises, then falls along a cosine to 0."""

    def __init__(
        self,
        model: Any,
        groups: list[dict[str, Any]],
        gradients: Callable[[int], float],
        measure: Callable[[], dict[str, float]],
        settings: Steps,
        checkpoint: Path,
    ):
        """groups: AdamW's, parameters and rates; gradients: adds those of a step, and returns its loss; measure: what
        the curve has besides; checkpoint: a file that outlives a killed job."""
        self.model, self.gradients, self.measure = model, gradients, measure
        self.steps, self.validate_every = settings.steps, settings.validate_every
        self.checkpoint, self.step = checkpoint, 0
        self.curve: list[dict[str, float]] = []
        self.weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        if checkpoint.is_file():
            self._resume()

    def _rate(self, step: int) -> float:
        warm = max(1, round(WARM_UP * self.steps))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.model.device, weights_only=True)
        with torch.no_grad():
            for name, value in state["weights"].items():
                self.weights[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step, self.curve = state["step"], state["curve"]
        logger.info("going on from step %d", self.step)

    def _keep(self) -> None:
        state = {
            "weights": {name: p.detach() for name, p in self.weights.items()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": self.step,
            "curve": self.curve,
        }
        with whole(self.checkpoint) as part:
            torch.save(state, part)

    def finish(self) -> list[dict[str, float]]:
        """Take the steps that are left. Returns the curve: a point per validation."""
        shown = Progress(self.steps, "steps", 20.0)
        if self.step:
            shown.advance(self.step, free=True)
        self.model.train()
        losses: list[float] = []
        for step in range(self.step, self.steps):
            self.optimizer.zero_grad(set_to_none=True)
            losses.append(self.gradients(step))
            torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
            self.optimizer.step()
            self.schedule.step()
            self.step += 1
            if self.step % self.validate_every == 0 or self.step == self.steps:
                self.model.eval()
                with torch.inference_mode():
                    found = self.measure()
                self.model.train()
                self.curve.append({"step": self.step, "train_loss": float(np.mean(losses)), **found})
                losses = []
                logger.info("step %d: %s", self.step, ", ".join(f"{k} {v:.3f}" for k, v in self.curve[-1].items()))
                self._keep()
            shown.advance(1)
        return self.curve
