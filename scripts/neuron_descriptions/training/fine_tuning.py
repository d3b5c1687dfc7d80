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
from neuron_descriptions.models.processor import is_slower_than_float32, reduced_precision_is_fast

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


def files_of(folder: str) -> list[str]:
    """A model's files, in order."""
    return [str(path) for path in sorted(Path(folder).iterdir()) if path.is_file()]


def with_bins_apart(model: Any, rate: float, bins_rate: float) -> list[dict[str, Any]]:
    """Groups for Fit: the weights that a simulator's outputs are read with have a learning rate of their own."""
    bins = model.get_output_embeddings().weight
    others = [p for p in model.parameters() if p.requires_grad and p is not bins]
    return [{"params": others, "lr": rate}, {"params": [bins], "lr": bins_rate}]


def is_held_out(layer: int, neuron: int) -> bool:
    """Whether a neuron is never learnt from, whatever else is in the run."""
    return key("held out", layer, neuron) % HELD_OUT == 0


def trains_faster_in_bfloat16() -> bool:
    """Whether mixed precision pays in training, whose products may round by shape: on a GPU, with matrix tiles, or on
    another maker's processor than Intel's, whose other instructions gave 79 billion operations a second where float32
    gave 137 (one core, forward and backward of SmolLM2's MLP, 2026-11-30)."""
    if torch.cuda.is_available() or not is_slower_than_float32():
        return True
    known = Path("/proc/cpuinfo")
    return reduced_precision_is_fast() and known.is_file() and " amx_bf16" in known.read_text()


def load_base(folder: str, dtype: str, threads: int, device_map: str | None) -> Any:
    """Load the model that is trained, in float32 where bfloat16 is slower; device_map: see load_model. Raises
    ValueError where "auto" finds too little room for it, since weights that are spilled cannot learn."""
    dtype = dtype if trains_faster_in_bfloat16() else "float32"
    model = load_model(folder, dtype, True, threads, device_map, train=True)
    if any(p.is_meta for p in model.parameters()):
        raise ValueError(
            f"device_map: auto: {folder} does not fit into this job's devices, and weights that are spilled to disk or"
            " main memory cannot be trained; ask for more GPUs, or name a smaller base"
        )
    return model


def mixed_precision(device: torch.device) -> torch.autocast:
    """Matrix products in bfloat16, but on processors where float32 is faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=trains_faster_in_bfloat16())


def with_low_rank(model: Any, rank: int, seed: int, last: int | None = None) -> Any:
    """The model with low-rank adapters on all its linear layers but the outputs, which alone are trainable (Hu et al.
    2021, "LoRA"). seed: of their weights; last: of so many of its blocks, the last ones: a step then goes back no
    further. None: of all."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed % 2**63)
    if last is None:
        return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))
    outputs, blocks = model.get_output_embeddings(), model.config.get_text_config().num_hidden_layers
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    names = sorted({name.rpartition(".")[2] for name in linear if model.get_submodule(name) is not outputs})
    wanted = list(range(max(0, blocks - last), blocks))
    return get_peft_model(
        model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names, layers_to_transform=wanted)
    )


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
    """Fine-tuning that goes on from its checkpoint. AdamW; the rate rises, then falls along a cosine to 0. Where it may
    stop early, the weights of the lowest `loss` that was measured are what is left in the model."""

    def __init__(
        self,
        model: Any,
        groups: list[dict[str, Any]],
        gradients: Callable[[int], float],
        measure: Callable[[], dict[str, float]],
        settings: Steps,
        checkpoint: Path,
        patience: int | None = None,
    ):
        """groups: AdamW's, parameters and rates; gradients: adds those of a step, and returns its loss; measure: what
        the curve has besides; checkpoint: a file that outlives a killed job; patience: stop after so many measurements
        in a row whose `loss` is not below the lowest one; None: take all steps, and keep the last weights."""
        self.model, self.gradients, self.measure = model, gradients, measure
        self.steps, self.validate_every = settings.steps, settings.validate_every
        self.checkpoint, self.step, self.patience = checkpoint, 0, patience
        self.curve: list[dict[str, float]] = []
        self.weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.best: dict[str, torch.Tensor] = {}  # weights at the lowest loss, where it may stop early
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
        self._take(state["weights"])
        self.best = state["best"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step, self.curve = state["step"], state["curve"]
        logger.info("going on from step %d", self.step)

    def _take(self, weights: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, value in weights.items():
                self.weights[name].copy_(value)

    def _lowest(self) -> int:
        """Place on the curve of the lowest loss, the first of equals."""
        losses = [point["loss"] for point in self.curve]
        return losses.index(min(losses))

    def _is_over(self) -> bool:
        """Whether the loss has not fallen for so long that it stops."""
        if self.patience is None or not self.curve:
            return False
        return len(self.curve) - 1 - self._lowest() >= self.patience

    def _keep(self) -> None:
        state = {
            "weights": {name: p.detach() for name, p in self.weights.items()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": self.step,
            "curve": self.curve,
            "best": self.best,
        }
        with whole(self.checkpoint) as part:
            torch.save(state, part)

    def finish(self) -> list[dict[str, float]]:
        """Take the steps that are left, until it may stop. Returns the curve: a point per validation."""
        shown = Progress(self.steps, "steps", 20.0)
        if self.step:
            shown.advance(self.step, free=True)
        self.model.train()
        losses: list[float] = []
        for step in range(self.step, self.steps):
            if self._is_over():
                logger.info("the loss has not fallen in %d measurements: no further steps", self.patience)
                break
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
                if self.patience is not None and self._lowest() == len(self.curve) - 1:
                    self.best = {name: p.detach().clone() for name, p in self.weights.items()}
                logger.info("step %d: %s", self.step, ", ".join(f"{k} {v:.3f}" for k, v in self.curve[-1].items()))
                self._keep()
            shown.advance(1)
        self._take(self.best)
        return self.curve
