"""Whether a model predicts what its neurons write: against log probabilities and areas counted one by one.

F neurons, N tokens, V the vocabulary.
"""

import numpy as np
import pytest
import torch

from neuron_descriptions.concepts.vocabulary import Vocabulary
from neuron_descriptions.concepts.wording import NO_PATTERN
from neuron_descriptions.corpus.reading import corpus_facts
from neuron_descriptions.features.gates import find_gates
from neuron_descriptions.features.neurons import down_projections
from neuron_descriptions.output_side.judging import Judge, agreement_rows, auc_of, read_panel
from neuron_descriptions.output_side.naming import Namer
from neuron_descriptions.output_side.writing import unembedding, written
from planted_panels import gated_model, sentences, write_panel

NEURONS = {0: [3, 9], 1: list(range(48))}


def test_an_area_is_the_share_of_pairs_and_its_error_knows_of_documents():
    random = np.random.default_rng(0)
    high, low = random.integers(0, 5, 30).astype(float), random.integers(0, 4, 50).astype(float)
    found = auc_of(high, low, np.arange(30), np.arange(30, 80))
    pairs = (high[:, None] > low).mean() + (high[:, None] == low).mean() / 2
    assert found.value == pytest.approx(pairs)
    held, naive = [], []
    for _ in range(300):  # documents of 8 tokens that share most of their value: the truth is 0.5
        documents = np.repeat(np.arange(40), 8)
        values = np.repeat(random.normal(size=40), 8) + 0.5 * random.normal(size=320)
        firing = np.repeat(random.random(40) < 0.3, 8)
        if 0 < firing.sum() < 320:
            parts = values[firing], values[~firing]
            whole = auc_of(*parts, documents[firing], documents[~firing])
            single = auc_of(*parts, np.arange(len(parts[0])), 1000 + np.arange(len(parts[1])))
            held.append(abs(whole.value - 0.5) < 1.96 * whole.error)
            naive.append(abs(single.value - 0.5) < 1.96 * single.error)
    assert 0.88 < np.mean(held) < 0.99 and np.mean(naive) < 0.7


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    """A small gated model, one of whose last neurons writes loudly: it, a panel, and what a pass keeps."""
    model = gated_model()
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[:, 7] *= 15
    rows = sentences(np.random.default_rng(0), 50)
    corpus, _ = write_panel(
        tmp_path_factory.mktemp("panel"), "panel_test", rows, np.zeros((1, sum(len(i) - p for p, i in rows)))
    )
    gates = find_gates(model, NEURONS, 2, 48)
    facts = corpus_facts(corpus)
    return model, rows, read_panel(model, corpus, facts.longest, facts.sequences, NEURONS, gates)


def test_a_pass_keeps_what_gives_every_log_probability_and_the_gates_signs(reading):
    model, rows, readout = reading
    first = 0
    gate = model.model.layers[1].mlp.gate_proj
    for prefix, ids in rows[:9]:
        seen = []
        hook = gate.register_forward_hook(lambda m, args, out, seen=seen: seen.append(out[0]))
        with torch.no_grad():
            true_NV = model(input_ids=torch.tensor([ids])).logits[0, prefix:].log_softmax(1)
        hook.remove()
        here = slice(first, first + len(ids) - prefix)
        logits_NV = readout.scale * readout.stream_ND[here] @ model.lm_head.weight.T
        torch.testing.assert_close(logits_NV - readout.total_N[here, None], true_NV, atol=1e-3, rtol=1e-3)
        assert np.array_equal(readout.gates[1][:, here], (seen[0][prefix:] > 0).T.numpy())
        first = here.stop
    assert readout.gates[0].shape == (2, len(readout.total_N))


def test_a_loud_neuron_s_tokens_rise_where_it_fires_and_others_tokens_do_not(reading):
    model, rows, readout = reading
    projection = down_projections(model, 2, 48)[1]
    seen = []
    hook = projection.register_forward_pre_hook(lambda module, args: seen.append(args[0][0]))
    with torch.no_grad():
        for _, ids in rows:
            model(input_ids=torch.tensor([ids]))
    hook.remove()
    acts_FN = torch.cat([acts[prefix:] for acts, (prefix, _) in zip(seen, rows)]).T.double().numpy()
    effects_VF = unembedding(model) @ written(model, projection).T
    top = effects_VF.topk(5, dim=0).indices.T
    document_N = np.repeat(np.arange(len(rows)), [len(ids) - prefix for prefix, ids in rows])
    judge = Judge(acts_FN, readout, document_N, 0, 1)
    scores = judge.score("positive", torch.stack([model.lm_head.weight.detach()[ids].mean(0) for ids in top]))
    loud = scores[7]
    assert loud["auc_low"] > 0.8 and loud["auc_percentile"] > 0.9 and loud["auc"] > loud["auc_null"] + 0.2
    assert loud["n_firing"] == max(10, int(0.01 * len(document_N)))
    firing = np.argsort(-acts_FN[7], kind="stable")[: loud["n_firing"]]
    assert loud["gate_positive"] == pytest.approx(readout.gates[1][7, firing].mean())
    down = judge.score("negative", torch.stack([model.lm_head.weight.detach()[ids].mean(0) for ids in top]))[7]
    assert down["auc"] < 0.5  # what it raises when it is up falls when it is down
    again = Judge(acts_FN, readout, document_N, 0, 1).score("positive", torch.stack(
        [model.lm_head.weight.detach()[ids].mean(0) for ids in top]))  # fmt: skip
    assert again == scores


def test_a_neuron_that_does_not_fire_has_no_score(reading):
    _, rows, readout = reading
    document_N = np.repeat(np.arange(len(rows)), [len(ids) - prefix for prefix, ids in rows])
    silent = Judge(np.zeros((2, len(document_N))), readout, document_N, 0, 0).score("positive", torch.zeros(2, 16))
    assert silent == [{"n_firing": 0, "n_documents": 0}] * 2


def test_a_neuron_that_writes_what_it_reads_agrees():
    effects_FN = np.random.default_rng(0).normal(size=(60, 300))
    acts_FN = effects_FN.copy()
    acts_FN[1] *= -1
    acts_FN[2] = np.random.default_rng(1).normal(size=300)
    acts_FN[3] = 0.5
    rows = agreement_rows(acts_FN, effects_FN)
    assert [rows[i].get("agreement") for i in (0, 1, 3)] == ["same", "opposite", None]
    assert rows[0]["reads_r"] == pytest.approx(1) and abs(rows[2]["reads_r"]) < 0.2
    assert sum(agreement_rows(acts_FN[[2] * 60], effects_FN)[i]["agreement"] != "neither" for i in range(60)) <= 6


def test_effects_on_tokens_are_put_into_words():
    random = np.random.default_rng(0)
    animals = ["cat", "dog", "horse", "cow", "sheep", "goat", "mouse", "lion", "tiger", "wolf", "bear", "duck"]
    stems = ["".join(random.choice(list("abcdefgilmnoprstu"), 4)) for _ in range(300)]
    texts = [f" {word}" for word in animals + [s + "ing" for s in stems[:40]] + stems] + stems[:60]
    lists = Vocabulary({"animals": frozenset(animals)}, dict.fromkeys(animals, ("animals",)))
    namer = Namer(texts, lists, 0)
    noise_V = 0.1 * torch.from_numpy(random.normal(size=len(texts))).float()
    high_V = noise_V.clone()
    high_V[: len(animals)] += 2
    found, r = namer.name(high_V)
    assert found.sentence == "animals" and r > 0.9
    high_V = noise_V.clone()
    high_V[len(animals) : len(animals) + 40] += 2
    found, r = namer.name(high_V)
    assert found.sentence == 'words ending in "ing"' and r > 0.9
    high_V = noise_V.clone()
    high_V[-60:] += 2  # letters that go on with a word
    found, _ = namer.name(high_V)
    assert "piece" in found.sentence or "letters" in found.sentence or found.sentence == NO_PATTERN
    assert "the word " not in found.sentence.replace("the word piece", "")
    found, r = namer.name(noise_V)
    assert found.sentence == NO_PATTERN or r < 0.3
