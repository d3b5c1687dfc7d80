"""The simulators against a task at a time: the whole prompt, the whole vocabulary, at the same precision."""

from pathlib import Path

import torch

from common import Clock, build
from conftest import ROOT
from neuron_descriptions.corpus.reading import read_texts
from neuron_descriptions.descriptions.prompts import read_template
from neuron_descriptions.models.loading import load_model, load_tokenizer
from neuron_descriptions.simulators.simulating import FinetunedSimulator, PromptedSimulator, SimulatorTemplate, Task
from slow_simulators import FINETUNED, expected_numbers, finetuned_ids, numbers, prompted_ids

SEQ_LEN, SEQUENCES, DTYPE = 95, 8, "float32"
DESCRIPTIONS = (
    "months of the year",
    "the first names of political leaders, most of all in formal speeches",
    'the prefix "un-" of negated adjectives, such as "unable" or "unlikely"',
    "sums of money written in digits",
)


def measure(scratch: Path) -> dict[str, float]:
    """The figures of this section. The slow way runs on every fourth task."""
    folder, corpus = build(scratch, SEQ_LEN, 64)
    model = load_model(folder, DTYPE, head=True, threads=torch.get_num_threads())
    tokenizer = load_tokenizer(folder)
    texts = list(read_texts(corpus["train"], set(range(SEQUENCES))).values())
    tasks = [Task(description, text) for description in DESCRIPTIONS for text in texts]
    template = read_template(str(ROOT / "config/prompts/simulator.yaml"), SimulatorTemplate)
    prompted = PromptedSimulator(model, tokenizer, template, 8192)
    finetuned = FinetunedSimulator(model, tokenizer, 8192)
    cases = {
        "prompted": (prompted, numbers(tokenizer), lambda task: prompted_ids(tokenizer, template, task)),
        "finetuned": (finetuned, FINETUNED, lambda task: finetuned_ids(tokenizer, task)),
    }
    figures = {}
    for name, (simulator, rows, ids) in cases.items():
        fast, slow, worst = Clock(), Clock(), 0.0
        simulator.simulate(tasks[:1])  # warm up
        expected_numbers(model, *ids(tasks[0]), rows)
        with fast:
            found = simulator.simulate(tasks)
        for task, values in list(zip(tasks, found))[::4]:
            with slow:
                exact = expected_numbers(model, *ids(task), rows)
            worst = max(worst, *(abs(a - b) for a, b in zip(values, exact, strict=True)))
        assert worst < 1e-2, f"{name}: {worst} from the slow way"
        figures |= {
            f"{name}_speedup_over_one_by_one": (slow.seconds / len(tasks[::4])) / (fast.seconds / len(tasks)),
            f"{name}_largest_difference": worst,
            f"{name}_evidence_tokens_per_cpu_second": sum(map(len, found)) / fast.seconds,
        }
    return figures
