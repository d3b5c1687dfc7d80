"""What the search for concepts found, as descriptions."""

from neuron_descriptions.common.storage import read_tables
from neuron_descriptions.concepts.wording import NO_PATTERN
from neuron_descriptions.descriptions.tables import FOUND_CONCEPTS

CONCEPTS = "concepts"  # the explainer that is no model


def read_sentences(paths: list[str]) -> dict[tuple[int, str], list[str]]:
    """Sentences of each neuron and sign, the longest list first; none where no concept fits."""
    found: dict[tuple[int, str], list[str]] = {}
    for row in read_tables(paths, FOUND_CONCEPTS).to_pylist():
        kept = found.setdefault((row["neuron"], row["sign"]), [])
        if row["sentence"] != NO_PATTERN:
            kept.append(row["sentence"])
    return found
