"""Section `diff`: another model, or another run, whose features are compared with this run's."""

from pydantic import model_validator

from neuron_descriptions.config.base import Name, PositiveInt, Section


class Differences(Section):
    """What `snakemake diff` compares this run's features with, on this run's panel: exactly one of `model` and `run`.
    Changes nothing of the run."""

    model: str | None = None
    """A model under `models` of the subject's shape and tokenizer, such as a fine-tuned one: it reads the panel."""
    run: Name | None = None
    """A run with the same panel, whose activations are there already."""
    features: PositiveInt = 20
    """Features of changed meaning that are listed at most, to be described anew."""

    @model_validator(mode="after")
    def _one(self) -> "Differences":
        if (self.model is None) == (self.run is None):
            raise ValueError("name either the other model or the other run, not both: set `model` or `run`")
        return self
