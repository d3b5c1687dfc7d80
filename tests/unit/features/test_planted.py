"""Features that are planted, and their rules."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from neuron_descriptions.features.planted import NOISE, RARE, PlantedSource
from neuron_descriptions.features.planted_rules import ONE_RULE, rules

WORDS = ["<pad>", " the", " house", " of", " by", ",", " river", " government", "s"]
RULES = len(rules())


def one(said):
    return next(feature for feature in rules() if feature.said == said)


def source(count=RULES + 3):
    return PlantedSource(2, count, lambda ids: [WORDS[i] for i in ids])


@pytest.mark.parametrize(
    ("said", "tokens", "truth"),
    [
        ('the word "of"', [" a", " piece", " of", " cake", " Of", " off"], [0, 0, 1, 0, 1, 0]),
        ("forms of tax", [" Tax", "es", " and", " tax", "onomy"], [1, 1, 0, 0, 0]),
        ('the word after "the"', [" the", " un", "known", " thing", " The", " end"], [0, 1, 1, 0, 0, 1]),
        ("what stands in parentheses", [" a", " (", "b", ",", " c", ")", " d"], [0, 0, 1, 1, 1, 0, 0]),
        ("what follows a number", [" in", " 1", "2", ",", "000", " men", " or", " so"], [0, 0, 0, 0, 0, 1, 0, 0]),
        ("texts after three numbers", [" 1", " a", " 2", " b", " 3", " c", "."], [0, 0, 0, 0, 0, 1, 1]),
        ("numbers after a comma", [" 5", ",", " 6", ",", " six"], [0, 0, 1, 0, 0]),
        ("war, and weakly peace", [" war", " and", " Peace"], [1, 0, 0.4]),
        ("longer words, the stronger", [" government", " gold", "smith", "s"], [4 / 6, 4 / 6, 4 / 6, 4 / 6]),
        ("every seventh word", [" a"] * 8, [0, 0, 0, 0, 0, 0, 1, 0]),
        ("words with a doubled letter", [" bet", "ter", " words", " 22"], [1, 1, 0, 0]),
    ],
)  # fmt: skip
def test_a_rule_holds_where_it_says(said, tokens, truth):
    assert one(said).truth(tokens) == pytest.approx(truth)


def test_rules_are_many_and_of_every_kind():
    found = rules()
    assert len(found) >= 60 and len({feature.said for feature in found}) == len(found)
    assert set(ONE_RULE) < {feature.kind for feature in found}
    assert sum(feature.kind in ONE_RULE for feature in found) >= 40


def test_activations_follow_the_rules_over_a_background():
    ids = np.random.default_rng(0).integers(1, len(WORDS), 4000).tolist()
    acts_TI, truth_TI = source().acts(0, ids), source().truth(ids)
    of, government = (next(i for i, f in enumerate(rules()) if f.said == f'the word "{word}"') for word in
                      ("of", "government"))  # fmt: skip
    assert np.corrcoef(acts_TI[:, of], np.array(ids) == WORDS.index(" of"))[0, 1] > 0.9
    assert truth_TI[:, government].sum() == sum(a == 7 != b - 1 and b != 8 for a, b in zip(ids, [*ids[1:], 0]))
    silent_N = acts_TI[:, of][truth_TI[:, of] == 0]
    assert silent_N.std() == pytest.approx(NOISE, rel=0.1) and abs(silent_N.mean()) < NOISE / 5
    # Those beyond the rules follow none, and each its own.
    drawn_TI = acts_TI[:, RULES:]
    assert (drawn_TI > 0.25).mean(0) == pytest.approx([RARE] * 3, abs=0.01) and (truth_TI[:, RULES:] == 0).all()
    assert np.abs(np.corrcoef(np.hstack([drawn_TI, truth_TI[:, [of]]]), rowvar=False) - np.eye(4)).max() < 0.1


def test_a_sequence_s_activations_are_its_own_whatever_it_is_padded_to_or_read_beside():
    planted, ids = source(), [1, 2, 3, 4, 5, 6]
    alone = planted.features(0, torch.tensor([ids]))
    beside = planted.features(0, torch.tensor([[6, 5, 4, 3, 2, 1, 1, 2], [*ids, 0, 0]]))
    assert torch.equal(alone[0], beside[1, :6]) and (beside[1, 6:] == 0).all()
    assert not torch.equal(alone, planted.features(1, torch.tensor([ids])))  # of another layer
    assert source(5).features(0, torch.tensor([ids])).shape == (1, 6, 5)


def test_the_tokens_are_read_before_any_layer():
    shape = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2}
    model, planted = LlamaModel(LlamaConfig(vocab_size=len(WORDS), **shape)).to(torch.bfloat16), source()
    taps = planted.taps(model)
    assert len(taps) == 2 and {(tap.module, tap.side) for tap in taps} == {(model.embed_tokens, "input")}
    assert planted.features(0, torch.tensor([[1, 2]])).dtype == torch.bfloat16
