"""Section `output_side`: what neurons write."""

from typing import Annotated

from pydantic import Field

from neuron_descriptions.config.base import Section


class OutputSide(Section):
    """The tokens that each neuron makes more and less likely, read off the subject's weights."""

    tokens: Annotated[int, Field(ge=1, le=1000)] = 10
    """Tokens kept at each end."""
