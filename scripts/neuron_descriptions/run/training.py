"""Stages that train something on a run: targets of their own, with their time, memory and bytes."""

from neuron_descriptions.common.vocabulary import SPLITS
from neuron_descriptions.config.corpus import Corpus
from neuron_descriptions.config.training import DictionaryTraining, Distillation, ExplainerTraining, Training
from neuron_descriptions.run.plans import Stage
from neuron_descriptions.run.reckoning import DESCRIPTION, LORA, Reckoning
from neuron_descriptions.run.simulation import read_by


def training_stages(r: Reckoning, training: Training) -> list[Stage]:
    """A target of its own. A step costs three forward passes: one back through activations and one through weights
    (less with adapters)."""
    seen = training.steps * training.batch_size
    ranked = 0
    if second := training.second:
        seen += second.steps * second.batch_size
        ranked = second.neurons * second.candidates * second.sequences
    row = r.seq_len + DESCRIPTION
    weights = r.parameters(training.base) * (16 if training.method == "full" else 2)
    activations = r.kept_for_the_way_back(training.batch_tokens)
    return [
        Stage("train_simulator", 1, r.model_job(training.base, (3 * seen + ranked) * row),
              r.megabytes(None, weights + activations + r.chunk_data * r.kept_chunks / len(SPLITS)),
              training.devices, read=(seen + ranked) * row, kept=weights * (1 if training.method == "full" else LORA)),
        Stage("plot_training", 1, r.reading(1, 1), r.megabytes(None, 0)),
    ]  # fmt: skip


def distillation_stages(r: Reckoning, distilled: Distillation) -> list[Stage]:
    """Targets of their own. The teacher reads every text once, but those of rules; the student reads, and goes back
    through, those of its steps."""
    said = r.config.descriptions
    described = said.candidates + said.token_candidates + said.concept_candidates + 1
    judged = distilled.judged_neurons * described * distilled.judged_sequences
    asked = distilled.descriptions * (1 - distilled.rules_share) * distilled.sequences
    taught = (asked + judged) * read_by(r, distilled.teacher, distilled.sequences)[2]
    row = r.seq_len + DESCRIPTION
    learnt = distilled.steps * distilled.batch_size * row
    # The student's parameters, of those that its base has.
    kept = min(1.0, (distilled.layers or r.config.subject.layers) / r.config.subject.layers)
    weights = r.parameters(distilled.base) * 2 * kept
    lessons = r.megabytes(None, (asked + judged) * r.text * 11 * 4)
    # What frozen layers give of a lesson, 4 bytes a hidden unit.
    states = distilled.descriptions * distilled.sequences * row * 0.3 * r.config.subject.neurons_per_layer * 4
    states *= distilled.adapted_blocks is not None
    return [
        Stage("teach", 1, r.model_job(distilled.teacher.model, taught),
              lessons + r.parameters(distilled.teacher.model) * 2 / 1e6, 1, read=taught,
              kept=(asked + judged) * r.text * 11 * 2),
        Stage("distil_simulator", 1, r.model_job(distilled.base, (3 * learnt + judged * row) * kept),
              lessons + (weights + states + r.kept_for_the_way_back(distilled.batch_tokens) * kept) / 1e6, 1,
              read=learnt + judged * row, kept=weights * LORA),
    ]  # fmt: skip


def explainer_training_stages(r: Reckoning, training: ExplainerTraining, prompt: float) -> list[Stage]:
    """A round's training, a target of its own; prompt: tokens of one."""
    seen = training.steps * training.batch_size * prompt
    weights = r.parameters(training.base) * 2
    return [
        Stage("train_explainer", 1, r.model_job(training.base, 3 * seen),
              r.megabytes(None, weights + r.kept_for_the_way_back(training.batch_tokens)),
              training.devices, read=seen, kept=weights * LORA),
    ]  # fmt: skip


def dictionary_training_stages(r: Reckoning, corpus: Corpus, training: DictionaryTraining) -> list[Stage]:
    """Two dictionaries of a layer, a target of its own: the model up to it reads the train text, whose activations at
    three places are kept; a step costs three passes through an encoder and a decoder, as wide as the model."""
    width = r.parameters(r.config.subject.model) / r.config.subject.layers / (3 * r.config.subject.neurons_per_layer)
    tokens = min(training.sequences or corpus.sequences.train, corpus.sequences.train) * r.seq_len
    trained = 2 * 3 * 2 * 2 * width * training.latents * training.steps * training.batch_tokens / (r.p.teraflops * 1e12)
    return [
        Stage("train_dictionary", 1, r.model_job(r.config.subject.model, tokens) + trained,
              r.megabytes(r.config.subject.model, 3 * tokens * width * 4 + 16 * width * training.latents * 4),
              read=tokens, kept=8 * width * training.latents),
    ]  # fmt: skip
