# The part that a first page is of. No rules.
from types import SimpleNamespace

FIRST_LAYER = next(layer for layer, neurons in SELECTED.items() if neurons)
FIRST_PART = SimpleNamespace(layer=FIRST_LAYER, part=DESCRIBED.names(FIRST_LAYER)[0])


def of_first_part(files):
    """Input function: what an input function finds for the first part."""
    return lambda wildcards: files(FIRST_PART) if callable(files) else files
