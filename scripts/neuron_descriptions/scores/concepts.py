"""Direct scores of lists of concepts: how well their own predictions match, exactly and without a simulator.

T tokens of a sequence, N tokens of the panel.
"""

import numpy as np
import pyarrow as pa

from neuron_descriptions.common.signs import one_side
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.common.vocabulary import SPLITS
from neuron_descriptions.concepts.execution import ConceptList, read_list
from neuron_descriptions.concepts.predicates import Predicate, Reader
from neuron_descriptions.concepts.vocabulary import read_vocabulary
from neuron_descriptions.descriptions.tables import FOUND_CONCEPTS
from neuron_descriptions.models.loading import load_tokenizer, token_strings
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.scores.evidence import Evidence
from neuron_descriptions.scores.formulas import correlation
from neuron_descriptions.scores.sampling import Array
from neuron_descriptions.scores.tables import CONCEPT_SCORES


def direct_score(predicted: Array, true: Array) -> float | None:
    """Signed correlation of predictions with the real activations of one side (both (N,), true not negative): 0 where
    the predictions do not vary, as of a list that never fires; None where the real ones do not, or there are none."""
    if len(true) < 2 or np.ptp(true) == 0:
        return None
    return 0.0 if np.ptp(predicted) == 0 else correlation(predicted, true)


def score_concepts(
    neurons: list[int],
    layer: int,
    inputs: dict[str, str | list[str]],
    numbers: dict[str, int],
    output: str,
) -> None:
    """Write a part's lists with their direct scores, as rows of CONCEPT_SCORES.

    inputs: concepts (a table FOUND_CONCEPTS), exemplars, statistics and the splits of the corpus as `Evidence` takes
    them, subject, rules (the file of word lists), and, where there is a panel, panel_test and panel_test_acts.
    numbers: top, middle, random: of the test sequences, as a score is made on.
    """
    reader = Reader(read_vocabulary(str(inputs["rules"])))
    tokenizer = load_tokenizer(str(inputs["subject"]))
    corpus: dict[str, str | list[str]] = {split: inputs[split] for split in SPLITS}
    evidence = Evidence(list(inputs["exemplars"]), list(inputs["statistics"]), corpus, neurons)
    held: dict[int, list[set[Predicate]]] = {}

    def contrast(found: ConceptList, neuron: int, sign: str) -> float | None:
        predicted, true = [np.zeros(0)], [np.zeros(0)]
        for sequence in evidence.scored("test", neuron, sign, **numbers):
            if sequence.seq_id not in held:
                held[sequence.seq_id] = reader.held(token_strings(tokenizer, sequence.text.evidence))
            predicted.append(found.predict_held(held[sequence.seq_id]))
            true.append(sequence.one_side(sign))
        return direct_score(np.concatenate(predicted), np.concatenate(true))

    natural = _Natural(inputs, layer, reader) if "panel_test" in inputs else None
    rows = read_table(str(inputs["concepts"]), FOUND_CONCEPTS).to_pylist()
    for row in rows:
        found, neuron, sign = read_list(row["parts"]), row["neuron"], row["sign"]
        row["direct_score_contrast"] = contrast(found, neuron, sign)
        row["direct_score"] = None if natural is None else natural.score(found, neuron, sign)
    write_table(pa.Table.from_pylist(rows, schema=CONCEPT_SCORES), output)


class _Natural:
    """The panel that no list was fitted on."""

    def __init__(self, inputs: dict[str, str | list[str]], layer: int, reader: Reader):
        self.layer = layer
        self.panel = Panel(str(inputs["panel_test"]), [str(inputs["panel_test_acts"])], str(inputs["subject"]))
        self.held = [predicates for tokens in self.panel.strings for predicates in reader.held(tokens)]

    def score(self, found: ConceptList, neuron: int, sign: str) -> float | None:
        true_N = one_side(self.panel.acts(self.layer, [neuron])[0].astype(float), sign)
        return direct_score(found.predict_held(self.held), true_N)
