"""What the published fine-tuned models read: made here step by step as the published code makes it, not by ours."""

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from tokenizers.decoders import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from conftest import ROOT
from neuron_descriptions.clients.base import Prompt
from neuron_descriptions.clients.token_ids import TokenIds
from neuron_descriptions.config.descriptions import FewShot
from neuron_descriptions.corpus.reading import Text
from neuron_descriptions.descriptions.evidence import _excerpts
from neuron_descriptions.descriptions.excerpts import Highlights
from neuron_descriptions.descriptions.prompts import read_explainer_template
from neuron_descriptions.harvest.exemplars import Exemplar
from neuron_descriptions.simulators.simulating import FinetunedFormat

NAMES = ("begin_of_text", "start_header_id", "end_header_id", "eot_id")
PROMPT = ROOT / "config/prompts/published-explainer.yaml"
# How Llama-3.1's tokenizer cuts text in words, contractions aside: line breaks after a header stay together.
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
NO_EXAMPLES = FewShot(place="none")


@pytest.fixture(scope="module")
def llama():
    """A small tokenizer in the form of Llama-3.1's, which begins every text with a begin-of-text token, with what the
    published code adds to it, in its order: a padding token, then the stand-ins."""
    special = [*(f"<|{name}|>" for name in NAMES), "<|end_of_text|>"]
    tokenizer = Tokenizer(models.BPE())
    bytes_alone = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(WORDS), "isolated"), bytes_alone])
    tokenizer.decoder = ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=special,
        show_progress=False,
    )
    tokenizer.train_from_iterator(["Neuron Description Input Excerpt the cat sat on the mat"] * 9, trainer)
    begin = (special[0], tokenizer.token_to_id(special[0]))
    tokenizer.post_processor = TemplateProcessing(single=f"{begin[0]} $A", special_tokens=[begin])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=begin[0], padding_side="left")
    fast.add_special_tokens({"pad_token": "<PAD>"})
    fast.add_tokens([f"<||{name}||>" for name in NAMES])
    fast.chat_template = (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
        "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    )
    return fast


def with_stand_ins(text):
    for name in NAMES:
        text = text.replace(f"<|{name}|>", f"<||{name}||>")
    return text


# --- the simulator -----------------------------------------------------------------------------------

DESCRIPTIONS = [
    "the cat",
    "<|eot_id|> after a <|start_header_id|>user<|end_header_id|> turn",
    "<|begin_of_text|>",
    "<|end_of_text|> or naïve 😀",
    "<||eot_id||>",
]


def published_simulator_inputs(tokenizer, descriptions, sequence):
    """Whole rows of a batch without their padding: strings mapped, padded on the left, the sequence's ids put after
    them, ids mapped everywhere."""
    texts = [with_stand_ins(f"## Neuron Description: {text}\n\n ## Input: ") for text in descriptions]
    batch = tokenizer(texts, padding=True, return_tensors="np")
    ids = np.concatenate([batch["input_ids"], np.array([sequence] * len(texts))], axis=1)
    mask = np.concatenate([batch["attention_mask"], np.ones((len(texts), len(sequence)), int)], axis=1)
    for name in NAMES:
        ids[ids == tokenizer.convert_tokens_to_ids(f"<|{name}|>")] = tokenizer.convert_tokens_to_ids(f"<||{name}||>")
    return [row[kept == 1].tolist() for row, kept in zip(ids, mask)]


def test_the_simulator_reads_the_published_input(llama):
    sequence = llama("<|start_header_id|>user<|end_header_id|>\n\nthe cat<|eot_id|>")["input_ids"]
    form = FinetunedFormat(llama)
    found = [form.description(text) + form.sequence(sequence) for text in DESCRIPTIONS]
    assert found == published_simulator_inputs(llama, DESCRIPTIONS, sequence)
    for ids in found:
        assert not {llama.convert_tokens_to_ids(f"<|{name}|>") for name in NAMES} & set(ids)


def test_a_stand_in_is_before_the_description_and_one_token_within_it(llama):
    tokens = llama.convert_ids_to_tokens(FinetunedFormat(llama).description("a<|eot_id|>"))
    assert (tokens[0], tokens.count("<||eot_id||>")) == ("<||begin_of_text||>", 1)
    assert len(tokens) == len(llama("## Neuron Description: a\n\n ## Input: ")["input_ids"]) + 1


def test_without_stand_ins_a_description_is_only_text(tokenizer):
    """As the demo's simulator was trained."""
    text = "<|im_end|> and <|endoftext|>"
    whole = tokenizer(f"## Neuron Description: {text}\n\n ## Input: ", split_special_tokens=True)["input_ids"]
    assert FinetunedFormat(tokenizer).description(text) == whole
    assert not set(whole) & set(tokenizer.added_tokens_decoder)


# --- the explainer -----------------------------------------------------------------------------------

# Template's prefix, evidence, which of its tokens (SmolLM2's) are at the threshold.
SHOWN = [
    ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n", "The cat  sat\n\non the mat. ", [1, 3, 4]),
    ("<|im_start|>user\n", " a 語 b\n", [1, 2, 3]),
    ("", "One, two !<|im_end|>\n<|im_start|>assistant\n{x} \n", [0, 3, 4, 5]),
    ("", "nothing here ", []),
]
# Made of these by functions of the published code itself (TransluceAI/observatory at 219fb5f, explanation_utils.py):
# format_activation_records_for_one_act_sign with threshold 8 on each token's own text, and format_prompt's loop.
GOLDEN = (
    "Excerpt 1:<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nThe {{cat}}  {{sat\n}}\non the mat. \n"
    "Excerpt 2:<|im_start|>user\n a {{���}} b\n\n"
    "Excerpt 3:{{One}}, two {{!<|im_end|>\n}}<|im_start|>assistant\n{x} \n\n"
    "Excerpt 4:nothing here \n"
)


def golden_parts(tokenizer):
    texts = [
        Text("made", tokenizer(prefix + text)["input_ids"], len(tokenizer(prefix)["input_ids"]))
        for prefix, text, _ in SHOWN
    ]
    strengths = [
        [9.0 if place in marked else -1.0 for place in range(len(text.evidence))]
        for text, (_, _, marked) in zip(texts, SHOWN)
    ]
    return texts, strengths


def exemplars(texts, activations, sign):
    return [
        Exemplar("train", 0, 0, sign, "top", i, i, text, np.array(acts, np.float32), 9.0)
        for i, (text, acts) in enumerate(zip(texts, activations))
    ]


@pytest.mark.parametrize("sign", ["positive", "negative"])
def test_the_explainer_is_shown_the_published_message(tokenizer, sign):
    template = read_explainer_template(str(PROMPT), NO_EXAMPLES, begins=True)
    texts, strengths = golden_parts(tokenizer)
    stored = [[a if sign == "positive" else -a for a in acts] for acts in strengths]
    shown = _excerpts(tokenizer, template, exemplars(texts, stored, sign), Highlights([8.0, 4.0], 3))
    messages = template.messages(shown, sign)
    assert [message["role"] for message in messages] == ["system", "user"]
    assert messages[1]["content"] == GOLDEN
    assert template.answer == ""


def test_the_explainer_reads_the_published_ids(llama):
    """But for the second begin-of-text token that the published code's strings get."""
    template = read_explainer_template(str(PROMPT), NO_EXAMPLES, begins=True)
    evidence = [
        llama(text, add_special_tokens=False)["input_ids"] for text in (" the cat sat", "<|eot_id|>\n\nthe mat")
    ]
    prefix = llama("<|start_header_id|>user<|end_header_id|>\n\n")["input_ids"]
    texts = [Text("made", prefix + ids, len(prefix)) for ids in evidence]
    drawn = exemplars(texts, [[9.0, *[0.0] * (len(ids) - 1)] for ids in evidence], "positive")
    messages = template.messages(_excerpts(llama, template, drawn, Highlights([8.0], 2)), "positive")
    head, rest = TokenIds(llama).prompt(Prompt(messages, template.answer, 1))

    replaced = [message | {"content": with_stand_ins(message["content"])} for message in messages]
    text = llama.apply_chat_template(replaced, add_generation_prompt=True, tokenize=False)
    assert "{{<||eot_id||>}}" in text and text.endswith(
        "the mat<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert head + rest == llama(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("begins", [True, False])
def test_a_trained_explainers_prompt_need_not_ask_for_the_marker(tmp_path, begins):
    """As its own system prompt does not."""
    path = tmp_path / "mine.yaml"
    content = PROMPT.read_text()
    path.write_text(content.replace("[DESCRIPTION]:", "a line"))
    assert read_explainer_template(str(path), NO_EXAMPLES, begins).answer == ""
    path.write_text(content.replace("[DESCRIPTION]:", "a line").replace('answer: ""', "answer: It is"))
    with pytest.raises(ValueError, match=r"mine\.yaml never mentions \[DESCRIPTION\]:"):
        read_explainer_template(str(path), NO_EXAMPLES, begins)
