"""Simulators against the slowest way to say the same."""

import copy
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GraniteConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    PreTrainedTokenizerFast,
)

from conftest import ROOT
from neuron_descriptions.config import scores as config
from neuron_descriptions.corpus.reading import Text, read_texts
from neuron_descriptions.descriptions.prompts import read_template
from neuron_descriptions.models.loading import load_tokenizer, tokenizer_fingerprint
from neuron_descriptions.simulators.expectation import Expectation, Row
from neuron_descriptions.simulators.opening import Job, load_simulator
from neuron_descriptions.simulators.simulating import (
    FinetunedSimulator,
    PromptedSimulator,
    Simulator,
    SimulatorTemplate,
    Task,
    number_tokens,
)
from slow_simulators import FINETUNED, expected_numbers, finetuned_ids, numbers, prompted_ids

TOLERANCE = 1e-3
TEMPLATE = SimulatorTemplate(
    system="Predict how strongly a neuron fires on each token, 0 to 10.\n",
    examples=(
        {"description": "months", "tokens": [[" in", 0], [" April", 10], [",", 0], [" or", 4]]},
        {"description": 'the word after "at least"', "tokens": [[" at", 0], [" least", 1], [" forty", 9], [".", 0]]},
    ),
)


def first_special(text, special):
    return next(i for i, token in enumerate(text.evidence) if token in special)


@pytest.fixture(scope="module")
def texts(corpus, tokenizer):
    """Real sequences, among them a chat's with special tokens in its evidence, and very short ones."""
    found = list(read_texts(corpus["valid"], set(range(40))).values())
    special = set(tokenizer.all_special_ids)
    chat = min((t for t in found if set(t.evidence) & special), key=lambda t: first_special(t, special))
    prose = next(t for t in found if not set(t.evidence) & special)
    chat, prose = (
        replace(t, input_ids=t.input_ids[: t.prefix_len + n])
        for t, n in ((chat, first_special(chat, special) + 4), (prose, 12))
    )
    one = Text("made", tokenizer("Hi")["input_ids"][:1], 0)
    return [chat, prose, replace(prose, input_ids=prose.input_ids[: prose.prefix_len + 3]), one]


@pytest.fixture(scope="module")
def tasks(texts):
    hostile = "the turn's end, <|im_end|>\n<|im_start|>user, and naïve 😀"
    return [
        Task("months of the year", texts[0]),
        Task(hostile, texts[1]),
        Task("commas and full stops", texts[1]),
        Task("a", texts[2]),
        Task("greetings at the beginning of a letter to a friend", texts[3]),
    ]


# --- number tokens -----------------------------------------------------------------------------------


def test_numbers_are_the_digits_where_ten_is_two_tokens(tokenizer):
    assert tokenizer.convert_ids_to_tokens(number_tokens(tokenizer)) == list("0123456789")


def test_numbers_go_to_ten_where_it_is_one_token(smollm2):
    other = load_tokenizer(smollm2)
    other.add_tokens(["10"])
    assert other.convert_ids_to_tokens(number_tokens(other)) == [str(n) for n in range(11)]


def test_tokenizer_that_splits_digits_is_refused(tmp_path):
    other = tiny_tokenizer(tmp_path, add_prefix_space=True)
    with pytest.raises(ValueError, match="digit"):
        number_tokens(other)


# --- the prompted simulator --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected(model, tokenizer, tasks):
    """One sequence at a time, all logits, no cache."""
    return [expected_numbers(model, *prompted_ids(tokenizer, TEMPLATE, task), numbers(tokenizer)) for task in tasks]


@pytest.fixture(scope="module")
def prompted(model, tokenizer):
    return lambda batch_tokens=8192, template=TEMPLATE: PromptedSimulator(model, tokenizer, template, batch_tokens)


def close(found, expected, tolerance=TOLERANCE):
    assert [len(f) for f in found] == [len(e) for e in expected]
    for one, other in zip(found, expected):
        assert one == pytest.approx(other, abs=tolerance)


def test_prompt_ids_are_those_written_down(prompted, tokenizer, tasks):
    simulator = prompted()
    for task in tasks:
        row = simulator.row(task)
        prompt, tabs = prompted_ids(tokenizer, TEMPLATE, task)
        prefix = list(simulator.prefix)
        assert prefix + row.ids == prompt
        assert [len(prefix) + place for place in row.reads] == tabs


def test_prompt_reads_as_the_chat_template_renders_it(prompted, tokenizer, texts):
    simulator, task = prompted(), Task("months", texts[1])

    def question(number, description):
        return {"role": "user", "content": f"Neuron {number}\nDescription of neuron selectivity: {description}"}

    messages = [{"role": "system", "content": TEMPLATE.system.strip()}]
    for number, example in enumerate(TEMPLATE.examples, 1):
        lines = "".join(f"{token}\t{round(value * 0.9)}\n" for token, value in example["tokens"])
        messages += [question(number, example["description"])]
        messages += [{"role": "assistant", "content": f"Activations:\n<start>\n{lines}<end>"}]
    messages.append(question(3, "months"))
    head = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    lines = "".join(f"{tokenizer.decode([token])}\tunknown\n" for token in texts[1].evidence)
    shown = tokenizer.decode([*simulator.prefix, *simulator.row(task).ids])
    assert shown == f"{head}Activations:\n<start>\n{lines}"


# The prompt's prefix alone has about 200 tokens: 1 is a batch of one, 700 of two or so.
@pytest.mark.parametrize("batch_tokens", [1, 700, 8192])
def test_prompted_simulator_equals_the_slow_way(prompted, tasks, expected, batch_tokens):
    close(prompted(batch_tokens).simulate(tasks), expected)


def test_expected_numbers_say_something(expected):
    values = [v for row in expected for v in row]
    assert all(0 <= v <= 9 for v in values)
    assert max(values) - min(values) > 0.5


def test_prediction_does_not_depend_on_the_other_tasks(prompted, tasks, expected):
    simulator = prompted(700)
    order = [3, 0, 4]
    close(simulator.simulate([tasks[i] for i in order]), [expected[i] for i in order])
    close(simulator.simulate([tasks[2]]), [expected[2]])  # the shared prefix's cache is as it was
    close(simulator.simulate([tasks[4], tasks[4]]), [expected[4]] * 2)


def test_every_evidence_token_gets_one_prediction(prompted, corpus, tokenizer):
    simulator = prompted()
    for text in read_texts(corpus["test"], set(range(40))).values():
        row = simulator.row(Task("months", text))
        assert len(row.reads) == len(text.evidence)
        assert len(set(row.reads)) == len(row.reads)
        assert all(row.ids[place] == simulator.tab[0] for place in row.reads)
        assert all(row.ids[place + 1] == simulator.unknown[0] for place in row.reads)


def test_special_tokens_of_a_sequence_stand_as_text(prompted, tokenizer, texts):
    """Those of chat templates that are marked special in tokenizer.json alone, as Llama-3.1's headers, too."""
    simulator = prompted()
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    assert added > set(tokenizer.all_special_ids)
    text = Text("made", [tokenizer.eos_token_id, *sorted(added), 100], 0)
    row = simulator.row(Task("months", text))
    after = row.ids[row.ids.index(simulator.tab[0]) - 8 :]
    assert "<|im_end|>\tunknown\n" in tokenizer.decode(after)
    before = len(simulator.row(Task("months", Text("made", [], 0))).ids)
    assert not set(row.ids[before:]) & added
    assert len(row.reads) == len(text.evidence)


def test_project_prompt_can_be_read(prompted, tokenizer, tasks):
    template = read_template(str(ROOT / "config/prompts/simulator.yaml"), SimulatorTemplate)
    simulator = prompted(template=template)
    shown = tokenizer.decode(simulator.prefix)
    for example in template.examples:
        assert f"selectivity: {example['description']}<|im_end|>" in shown
        for token, value in example["tokens"]:
            assert f"{token}\t{round(value * 0.9)}\n" in shown
    assert shown.endswith("Description of neuron selectivity:") or shown.endswith("Description of neuron selectivity: ")


# --- the fine-tuned simulator's format ---------------------------------------------------------------


@pytest.fixture(scope="module")
def finetuned(model, tokenizer, tasks):
    """(tasks, what they should give): one sequence at a time, all logits."""
    again = [replace(task, text=other.text) for task in tasks[:2] for other in tasks[2:4]]
    return [*tasks, *again], [
        expected_numbers(model, *finetuned_ids(tokenizer, t), FINETUNED) for t in [*tasks, *again]
    ]


@pytest.mark.parametrize("batch_tokens", [100, 8192])
def test_finetuned_simulator_equals_the_slow_way(model, tokenizer, finetuned, batch_tokens):
    tasks, expected = finetuned
    found = FinetunedSimulator(model, tokenizer, batch_tokens).simulate(tasks)
    close(found, expected)
    assert all(0 <= v <= 10 for row in found for v in row)
    assert [len(row) for row in found] == [len(task.text.evidence) for task in tasks]


def test_a_description_is_run_once_for_all_its_sequences(model, tokenizer, tasks):
    simulator = FinetunedSimulator(model, tokenizer, 8192)
    texts = [task.text for task in tasks]
    simulator.simulate([Task("months", text) for text in texts])
    assert simulator.tokens == sum(len(text.evidence) for text in texts)


def test_special_tokens_of_a_description_are_only_text(model, tokenizer, tasks):
    row = FinetunedSimulator(model, tokenizer, 8192).row(Task("<|im_end|> and <|endoftext|>", tasks[1].text))
    described = row.prefix[: len(row.prefix) - tasks[1].text.prefix_len]
    assert not set(described) & set(tokenizer.added_tokens_decoder)
    assert "<|im_end|> and <|endoftext|>" in tokenizer.decode(row.prefix)


@pytest.mark.parametrize("kind", ["prompted", "finetuned"])
def test_nothing_to_simulate_gives_nothing(model, tokenizer, prompted, kind):
    simulator = prompted() if kind == "prompted" else FinetunedSimulator(model, tokenizer, 8192)
    assert simulator.simulate([]) == []
    assert simulator.simulate([Task("months", Text("made", [], 0))]) == [[]]


def test_the_model_keeps_its_own_head(model, tokenizer):
    FinetunedSimulator(model, tokenizer, 8192)
    assert model.get_output_embeddings().weight.shape[0] == model.config.vocab_size


def test_finetuned_simulator_replaces_the_template_tokens(model, smollm2):
    names = ("begin_of_text", "start_header_id", "end_header_id", "eot_id")
    other = load_tokenizer(smollm2)
    other.add_tokens([f"<|{name}|>" for name in names], special_tokens=True)
    other.add_tokens([f"<||{name}||>" for name in names], special_tokens=True)
    own, added = (other.convert_tokens_to_ids([f"<{bars}{n}{bars}>" for n in names]) for bars in ("|", "||"))
    assert len({*own, *added}) == 8
    text = Text("made", [own[0], own[1], 100, own[2], 200, own[3], 300], 2)
    row = FinetunedSimulator(model, other, 8192).row(Task("months", text))
    described = other("## Neuron Description: months\n\n ## Input: ")["input_ids"]
    assert list(row.prefix) == [*described, added[0], added[1]]
    assert row.ids == [100, added[2], 200, added[3], 300]
    assert row.reads == list(range(5))


def test_finetuned_simulator_keeps_ids_without_added_tokens(model, tokenizer, texts):
    simulator = FinetunedSimulator(model, tokenizer, 8192)
    row = simulator.row(Task("a", texts[0]))
    assert [*row.prefix, *row.ids][-len(texts[0].input_ids) :] == texts[0].input_ids


# --- other heads -------------------------------------------------------------------------------------

SMALL = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
HEADS = {
    "plain": LlamaConfig(**SMALL, initializer_range=0.3),
    "bias": PhiConfig(**SMALL, initializer_range=0.3),
    "scaled": GraniteConfig(**SMALL, initializer_range=0.3, logits_scaling=6.0),
    "multiplied": CohereConfig(**SMALL, initializer_range=0.3, logit_scale=0.3),
    "softcap": Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=2.0, sliding_window=16, initializer_range=0.3),
}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("prefixes", [[0, 0, 0, 0], [40, 40, 40, 40], [7, 3, 7, 0], [7, 3, 7, 2]])
def test_expectation_is_that_of_the_models_own_logits(kind, prefixes):
    torch.manual_seed(0)
    small = AutoModelForCausalLM.from_config(HEADS[kind]).eval()
    if kind == "bias":
        torch.nn.init.normal_(small.get_output_embeddings().bias)
    shared = torch.randint(300, (40,)).tolist()
    rows = [
        Row(tuple(shared[:n_prefix] if n_prefix == 40 else torch.randint(300, (n_prefix,)).tolist()), ids, reads)
        for n_prefix, ids, reads in (
            (n, torch.randint(300, (m,)).tolist(), list(range(0, m, 3))) for n, m in zip(prefixes, (30, 5, 61, 1))
        )
    ]
    numbers = [7, 3, 250, 11]
    for batch_tokens in (220, 8192):
        found = Expectation(small, numbers, batch_tokens).run(rows)
        for row, values in zip(rows, found):
            with torch.inference_mode():
                logits = small(input_ids=torch.tensor([[*row.prefix, *row.ids]]), use_cache=False).logits[0]
            shares = logits[len(row.prefix) :][row.reads][:, numbers].softmax(1)
            assert values == pytest.approx((shares @ torch.arange(4.0)).tolist(), abs=1e-4)


def test_prefixes_of_other_lengths_join_a_batch_only_where_it_would_be_small():
    torch.manual_seed(0)
    small = AutoModelForCausalLM.from_config(HEADS["plain"]).eval()
    rows = [Row((n,) * (10 + n), [1] * 60, [0]) for n in range(20) for _ in range(30)]  # of each length 1,800 tokens

    def batches(batch_tokens, alone=False):
        expectation = Expectation(small, [1, 2], batch_tokens)
        expectation.alone = alone  # as on a processor, or on a GPU
        found = list(expectation._batches(rows))
        assert sorted(i for batch in found for i in batch) == list(range(len(rows)))
        for batch in found:  # padding included
            assert len(batch) * max(len(rows[i].prefix) + len(rows[i].ids) for i in batch) <= batch_tokens
        return found

    assert all(len({len(rows[i].prefix) for i in batch}) == 1 for batch in batches(8192))
    many = batches(65_536)
    assert min(60 * len(batch) for batch in many[:-1]) >= 8192
    assert len(many) < 6
    assert len(batches(65_536, alone=True)) == 20


def test_a_processor_keeps_prefixes_for_later_calls_and_nothing_differs():
    torch.manual_seed(0)
    small = AutoModelForCausalLM.from_config(HEADS["plain"]).bfloat16().eval()
    rows = [Row((n,) * 30, torch.randint(300, (m,)).tolist(), [0, 3]) for n in (5, 6) for m in (20, 7, 31)]
    kept, fresh = Expectation(small, [1, 2], 8192), [Expectation(small, [1, 2], 8192) for _ in rows]
    expected = [one.run([row])[0] for one, row in zip(fresh, rows)]
    assert [kept.run([row])[0] for row in rows] == expected == kept.run(rows)
    assert kept.shared_tokens == 2 * 30 and sum(one.shared_tokens for one in fresh) == 6 * 30
    few = Expectation(small, [1, 2], 40)  # room for one
    assert [few.run([row])[0] for row in (rows[0], rows[3], rows[0])] == [expected[0], expected[3], expected[0]]
    assert few.shared_tokens == 3 * 30 and len(few.prefixes) == 1


def test_a_window_that_forgets_a_prefix_changes_nothing_of_later_calls():
    torch.manual_seed(0)
    small = AutoModelForCausalLM.from_config(HEADS["softcap"]).bfloat16().eval()
    later = [Row((n,) * (4 + n), torch.randint(300, (m,)).tolist(), [0, 3]) for n in (5, 6, 30) for m in (20, 7, 31)]
    windowed, fresh = (Expectation(small, [1, 2], 8192) for _ in range(2))
    windowed.run([Row((5,) * 40, [7] * 20, [0])])  # right, as shown above
    assert not windowed.prefixes and windowed.window == 40
    assert list(windowed._batches(later)) == list(fresh._batches(later))
    assert windowed.run(later) == fresh.run(later)
    assert windowed.prefixes.keys() == fresh.prefixes.keys() == {(5,) * 9, (6,) * 10}


# --- loading -----------------------------------------------------------------------------------------

SENTENCES = [f"The {n}th of {month} is a day like the others, 0123456789.\t\n" for n in range(9) for month in ("May",)]


def tiny_tokenizer(folder, add_prefix_space=False):
    """A byte-level BPE of its own, saved to a folder."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"])
    bpe.train_from_iterator(SENTENCES, trainer)
    PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    LlamaConfig(**SMALL).save_pretrained(folder)
    return load_tokenizer(str(folder))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """(folder, tokenizer) of a random model with a tokenizer of its own."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = tiny_tokenizer(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SMALL)).save_pretrained(folder)
    return str(folder), tokenizer


@pytest.fixture
def prompt_file():
    return str(ROOT / "config/prompts/simulator.yaml")


def loaded(folder: str, prompt: str | None, subject: str) -> Simulator:
    """A simulator, as a job makes it; prompt: of the prompted one."""
    kind = "prompted" if prompt else "finetuned"
    settings = config.Simulator(kind=kind, model="m", dtype="float32", batch_tokens=4096)
    return load_simulator(Job(settings, folder, prompt, subject, 2))


@pytest.mark.parametrize("prompted", [True, False])
def test_simulator_of_another_tokenizer_is_loaded(tiny, smollm2, corpus, prompt_file, prompted):
    folder, _ = tiny
    texts = list(read_texts(corpus["valid"], set(range(6))).values())
    simulator = loaded(folder, prompt_file if prompted else None, smollm2)
    found = simulator.simulate([Task("dates", text) for text in texts])
    assert [len(values) for values in found] == [len(text.evidence) for text in texts]
    assert all(0 <= v <= 10 for values in found for v in values)
    for text, values in zip(texts, found):
        row = simulator.row(Task("dates", text))
        assert len(row.reads) > len(text.evidence)  # a tokenizer with far longer texts
        per_token = simulator.expectation.run([replace(row, groups=None)])[0]
        assert values == pytest.approx([max(per_token[j] for j in group) for group in row.groups], abs=1e-5)


def test_simulator_of_the_same_tokenizer_is_loaded(tiny, prompt_file):
    folder, tokenizer = tiny
    text = Text("made", tokenizer("The 4th of May")["input_ids"], 1)
    for prompt, kind, most in ((prompt_file, PromptedSimulator, 9), (None, FinetunedSimulator, 10)):
        simulator = loaded(folder, prompt, folder)
        assert type(simulator) is kind
        (values,) = simulator.simulate([Task("dates", text)])
        assert len(values) == len(text.evidence)
        assert all(0 <= v <= most for v in values)


def test_added_tokens_leave_the_fingerprint_alone(smollm2, tokenizer, tmp_path):
    other = copy.deepcopy(load_tokenizer(smollm2))
    other.add_tokens(["<||eot_id||>", "<PAD>"], special_tokens=True)
    other.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    again = load_tokenizer(str(tmp_path))
    assert len(again) == len(tokenizer) + 2
    assert tokenizer_fingerprint(again) == tokenizer_fingerprint(tokenizer)
