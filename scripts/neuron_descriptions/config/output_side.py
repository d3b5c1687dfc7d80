"""Section `output_side`: what neurons write."""

from typing import Annotated

from pydantic import Field

from neuron_descriptions.config.base import NonNegativeInt16, PositiveFloat, Section


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
