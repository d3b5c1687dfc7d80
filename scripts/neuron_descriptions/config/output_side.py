"""Section `output_side`: what neurons write."""

from typing import Annotated

from pydantic import Field

from neuron_descriptions.config.base import NonNegativeInt16, PositiveFloat, PositiveInt, Section, UserPath
from neuron_descriptions.config.explainers import Explainer
from neuron_descriptions.config.features import Features


class OutputSide(Section):
    """The tokens that each neuron makes more and less likely, read off the subject's weights."""

    tokens: Annotated[int, Field(ge=1, le=1000)] = 10
    """Tokens kept at each end."""
    scaled: NonNegativeInt16 = 0
    """Described neurons of each layer, drawn at random, that are also scaled on the panel's text, to measure which
    tokens' probability changes; each is set against the others of its layer, so take 10 or more. A neuron and sign
    takes 40 or fewer sequences, twice. It needs a `panel`. 0: none."""
    factor: PositiveFloat = 3.0
    """What their activations are multiplied by."""
    explained: bool = False
    """Ask `descriptions.explainer` what the tokens of each feature and sign have in common: a second description,
    beside the words of the search, with the temperature, `max_tokens` and `attempts` of the others. It is shown every
    second of `tokens`; the rest are held out, to judge what it says: so take 20 or more."""
    prompt: UserPath = "config/prompts/output-tokens.yaml"
    """Prompt file of what it is asked."""
    judge: Explainer | None = None
    """The model that says which tokens fit what the explainer said, with the keys of `descriptions.explainer`; null:
    that one. With the client `transformers` it is read how much more it expects them after the description than after
    one that says nothing, and nothing is generated; any other client is asked for lists of answers."""
    judge_prompt: UserPath = "config/prompts/output-judge.yaml"
    """Prompt file of the judge."""
    others: NonNegativeInt16 = 3
    """What the explainer said of so many other features of the layer is judged on the same tokens: that is chance.
    Each costs as much as the description."""
    tokens_per_request: PositiveInt = 20
    """Tokens that a client is asked about at once, where it is asked."""


def check_output_side(asked: OutputSide, features: Features, panel: bool, explainer: Explainer | None) -> None:
    """Raises ValueError where what features write is not defined, or there is no text or nobody to ask. panel: whether
    there is one."""
    if asked.scaled and features.kind != "mlp_neurons":
        raise ValueError(
            f"output_side.scaled: only neurons are scaled, and features.kind is {features.kind}; set it to 0"
        )
    if asked.scaled and not panel:
        raise ValueError("output_side.scaled: neurons are scaled on the text of a panel; add `panel`, or set it to 0")
    if asked.explained and explainer is None:
        raise ValueError("output_side.explained: it needs descriptions.explainer, which is asked; name one")
    if asked.explained and asked.tokens < 8:
        raise ValueError(
            f"output_side.tokens is {asked.tokens}: the explainer is shown every second one, and the others are held"
            " out; raise it to 20"
        )
    if features.kind == "attention_heads" and features.path is None:
        raise ValueError(
            "output_side: a head's norm says how much it writes, not what; give features.path, directions that heads"
            " are projected on, or leave output_side out"
        )
    if features.kind == "planted":
        raise ValueError("output_side: features.kind planted is read off the text and writes nothing; leave it out")
    if features.kind in ("autoencoder", "directions") and getattr(features, "hook", None) == "mlp_in":
        raise ValueError(
            "output_side: features.hook is mlp_in, which the MLP reads: nothing is added to the residual stream there;"
            " leave output_side out"
        )
