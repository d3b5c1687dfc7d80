"""Candidates: evidence, answers and what becomes of them."""

import re

import numpy as np
import pyarrow as pa
import pytest

from conftest import ROOT
from neuron_descriptions.clients.base import Answer, Prompt
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.common.vocabulary import SIGNS, TAILS, quantile_column
from neuron_descriptions.concepts.vocabulary import is_debris
from neuron_descriptions.concepts.wording import NO_PATTERN
from neuron_descriptions.config.base import tracked
from neuron_descriptions.config.descriptions import Descriptions, FewShot
from neuron_descriptions.corpus.reading import read_texts
from neuron_descriptions.descriptions.answers import parse_answer
from neuron_descriptions.descriptions.asking import Part, Tally, ask, describe
from neuron_descriptions.descriptions.candidates import Candidate, descriptions_table
from neuron_descriptions.descriptions.evidence import EvidenceFiles, Prompting, draw_evidence, prepare
from neuron_descriptions.descriptions.prompts import Example, ExplainerTemplate
from neuron_descriptions.descriptions.tables import ACCOUNTING, DESCRIPTIONS, FOUND_CONCEPTS
from neuron_descriptions.harvest.tables import EXEMPLARS, STATISTICS
from neuron_descriptions.models.loading import token_strings
from neuron_descriptions.panel.tables import NEURON_TYPES

BEGUN = "[DESCRIPTION]:"


# --- evidence ----------------------------------------------------------------------------------------


def test_evidence_is_distinct_and_within_its_bounds():
    drawn = [draw_evidence(20, 10, 15, 0, 3, 699, "positive", c) for c in range(300)]
    assert {len(ranks) for ranks in drawn} == set(range(10, 16))
    assert all(len(set(ranks)) == len(ranks) for ranks in drawn)
    assert {rank for ranks in drawn for rank in ranks} == set(range(20))


@pytest.mark.parametrize("available", [1, 4, 9])
def test_all_evidence_is_taken_where_there_is_little(available):
    for candidate in range(20):
        assert sorted(draw_evidence(available, 10, 15, 0, candidate)) == list(range(available))


def test_evidence_is_permuted_without_preference():
    drawn = [draw_evidence(20, 10, 10, 0, c) for c in range(2000)]
    assert all(ranks != sorted(ranks) for ranks in drawn[:50])
    firsts = np.bincount([ranks[0] for ranks in drawn], minlength=20)
    taken = np.bincount([rank for ranks in drawn for rank in ranks], minlength=20)
    assert firsts.min() > 60 and firsts.max() < 145  # 100 expected
    assert taken.min() > 900 and taken.max() < 1100  # 1000 expected


def test_evidence_is_a_function_of_seed_and_identity():
    who = (3, 699, "positive", 0)
    first = draw_evidence(20, 10, 15, 0, *who)
    assert draw_evidence(20, 10, 15, 0, *who) == first
    others = [
        (1, *who),
        (0, 4, *who[1:]),
        (0, 3, 700, *who[2:]),
        (0, 3, 699, "negative", 0),
        (0, 3, 699, "positive", 1),
    ]
    drawn = [tuple(draw_evidence(20, 10, 15, *other)) for other in others]
    assert len({tuple(first), *drawn}) == 6


# --- answers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "description"),
    [
        (" months of the year", "months of the year"),
        (" months of the year\n", "months of the year"),
        ("\n\n months of the year\nBecause of ...", "months of the year"),
        (" [DESCRIPTION]: months", "months"),
        (" a guess [DESCRIPTION]: weeks\n[DESCRIPTION]: months ", "months"),
        (' "months of the year"', "months of the year"),
        (" 42", "42"),
        (" 日本", "日本"),
        (" verbs. They are in the past tense.", "verbs. They are in the past tense."),
    ],
)
def test_finished_answer_is_its_first_line_after_the_marker(text, description):
    assert parse_answer(BEGUN, text, True) == (description, "ok")


def test_quote_within_an_answer_is_kept():
    assert parse_answer(BEGUN, ' the word "not"', True) == ('the word "not"', "ok")


def test_beginning_in_the_prompt_is_part_of_the_answer():
    assert parse_answer("[DESCRIPTION]: words about", " months", True) == ("words about months", "ok")
    assert parse_answer("[DESCRIPTION]: words about", " [DESCRIPTION]: weeks", True) == ("weeks", "ok")


@pytest.mark.parametrize(
    "text", ["", " ", "\n\n", " ...", ' ""', " -- !?", "[DESCRIPTION]:", " months [DESCRIPTION]: "]
)
def test_answer_without_a_word_is_unparsed(text):
    assert parse_answer(BEGUN, text, True) == (None, "unparsed")
    assert parse_answer(BEGUN, text, False) == (None, "unparsed")


@pytest.mark.parametrize(
    "text",
    [
        " I'm sorry, but I can't help with that.",
        " I’m sorry, I cannot answer.",
        " I am sorry.",
        " I cannot determine a pattern from these excerpts.",
        " I can't provide one.",
        " As an AI, I have no opinion.",
        " I am unable to do so.",
        " I apologize for the confusion",
        ' "I\'m not able to say"',
    ],
)
def test_refusals_are_no_descriptions(text):
    assert parse_answer(BEGUN, text, True) == (None, "refused")


@pytest.mark.parametrize(
    "text",
    [
        "apologies in letters",
        "the verb can't",
        "artificial intelligence, and AI as an abbreviation",
        'words of apology such as "I am sorry" or "I apologize"',
    ],
)
def test_descriptions_that_sound_like_refusals_are_kept(text):
    assert parse_answer(BEGUN, " " + text, True)[1] == "ok"


@pytest.mark.parametrize(
    ("text", "description"),
    [
        (" Months of the year. It also fires on the names of", "Months of the year."),
        (" Months! Weeks? Years. And then some", "Months! Weeks? Years."),
        (" Months of the year. Rates of 3.5 percent and", "Months of the year."),
        (" months of the year and names of", "months of the year and names of"),
        (" Months of the year.", "Months of the year."),
        (" Prices such as 3.50 and", "Prices such as 3.50 and"),
        (" months of the year\nSome more", "months of the year"),
    ],
)
def test_unfinished_answer_ends_with_its_last_full_sentence(text, description):
    assert parse_answer(BEGUN, text, False) == (description, "ok")


@pytest.mark.parametrize(
    ("text", "description"),
    [
        (" Description: names of months", "names of months"),
        (" The explanation is: names of months", "names of months"),
        (' {"description": "names of months"}', "names of months"),
        (' ```json\n{"description": "names of months"}\n```', "names of months"),
        (" <answer>names of months</answer>", "names of months"),
        (" 1. and 2. in numbered lists", "1. and 2. in numbered lists"),
        (' the word "description"', 'the word "description"'),
        (" the answer to a question", "the answer to a question"),
        (" tags such as <b>", "tags such as <b>"),
    ],
)
def test_what_stands_around_an_answer_is_left_out(text, description):
    assert parse_answer(BEGUN, text, True) == (description, "ok")


@pytest.mark.parametrize(
    "text",
    [
        " [your description]", " <description>", " [phrase here]", " ### Description", " N/A", " None", " Unknown",
        " (no description)", " excerpts one and two", " highlighted words", " words in double curly braces",
    ],
)  # fmt: skip
def test_a_name_for_an_answer_is_none(text):
    assert parse_answer(BEGUN, text, True) == (None, "unparsed")


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        ("<|START_THINKING|>", "<|END_THINKING|>"), ("<|begin_of_thought|>", "<|end_of_thought|>"),
        ("<think duration=3>", "</think>"), ("<reason>", "</reason>"), ("<analysis>", "</analysis>"),
    ],
)  # fmt: skip
def test_further_dialects_of_thoughts(begins, ends):
    assert parse_answer("", f"{begins}[DESCRIPTION]: weeks", True) == (None, "unparsed")
    assert parse_answer("", f"{begins}[DESCRIPTION]: weeks{ends}[DESCRIPTION]: months", True) == ("months", "ok")


# --- asking ------------------------------------------------------------------------------------------


class Scripted:
    """A client that answers each prompt with its own list of answers, one after another."""

    def __init__(self, answers):
        self.answers = {prompt: iter(texts) for prompt, texts in answers.items()}
        self.rounds = []

    def answer(self, requests, done):
        self.rounds.append(requests)
        texts = [next(self.answers[request.prompt.answer]) for request in requests]
        for i, text in reversed(list(enumerate(texts))):  # in any order
            done({i: Answer(text, 2, len(text), True)}, True)


GOOD, BAD, REFUSED = " months", " ...", " I'm sorry."


def candidates(n=4, neuron=7):
    return [Candidate(3, neuron, "positive", i, ranks=[i, i + 1], prompt=Prompt([], str(i))) for i in range(n)]


def asked(*answers, attempts=3, seed=0):
    """(candidates, rounds of requests) after asking; one list of answers per candidate."""
    found = candidates(len(answers))
    client = Scripted({c.prompt.answer: texts for c, texts in zip(found, answers)})
    ask(found, client.answer, BEGUN, seed, attempts, Tally())
    return found, client.rounds


def test_only_failing_candidates_are_asked_again():
    found, rounds = asked([GOOD], [BAD, REFUSED, GOOD], [" weeks"], [REFUSED, " years"])
    assert [[r.prompt.answer for r in requests] for requests in rounds] == [["0", "1", "2", "3"], ["1", "3"], ["1"]]
    assert [c.description for c in found] == ["months", "months", "weeks", "years"]
    assert [c.status for c in found] == ["ok"] * 4
    assert [c.attempts for c in found] == [1, 3, 1, 2]


def test_tokens_are_summed_over_attempts():
    found, _ = asked([GOOD], [BAD, REFUSED, GOOD])
    assert [c.prompt_tokens for c in found] == [2, 6]
    assert [c.completion_tokens for c in found] == [len(GOOD), len(BAD + REFUSED + GOOD)]


def test_every_attempt_has_a_seed_of_its_own():
    _, rounds = asked([BAD, BAD, GOOD], [BAD, BAD, GOOD])
    seeds = [request.seed for requests in rounds for request in requests]
    assert len(set(seeds)) == 6
    assert [r.seed for requests in asked([BAD, BAD, GOOD], [BAD, GOOD])[1] for r in requests] == seeds[:5]
    assert not {r.seed for requests in asked([GOOD], [GOOD], seed=1)[1] for r in requests} & set(seeds)


def test_refused_answer_leaves_the_others_evidence_alone():
    found, _ = asked([GOOD], [REFUSED, REFUSED], [BAD, " weeks"], [" years"], attempts=2)
    assert [c.ranks for c in found] == [[0, 1], [1, 2], [2, 3], [3, 4]]
    assert [c.description for c in found] == ["months", None, "weeks", "years"]
    rows = descriptions_table(found, "m").to_pylist()
    assert [(r["candidate"], r["exemplar_ranks"], r["description"]) for r in rows] == [
        (0, [0, 1], "months"), (1, [1, 2], None), (2, [2, 3], "weeks"), (3, [3, 4], "years"),
    ]  # fmt: skip


def test_attempts_run_out():
    found, rounds = asked([BAD, REFUSED, GOOD], [REFUSED, BAD, GOOD], attempts=2)
    assert len(rounds) == 2
    assert [(c.description, c.status, c.attempts) for c in found] == [(None, "refused", 2), (None, "unparsed", 2)]


def test_candidates_without_a_prompt_are_not_asked():
    silent = Candidate(3, 7, "negative", 0)
    spoken = candidates(1)
    client = Scripted({"0": [GOOD]})
    ask([silent, *spoken], client.answer, BEGUN, 0, 3, Tally())
    assert [len(requests) for requests in client.rounds] == [1]
    assert (silent.status, silent.attempts, silent.description) == ("no_activation", 0, None)
    ask([silent], Scripted({}).answer, BEGUN, 0, 3, Tally())
    assert silent.attempts == 0


def test_groups_are_neurons():
    found = [*candidates(2, neuron=7), *candidates(2, neuron=9)]
    client = Scripted({"0": [GOOD, GOOD], "1": [GOOD, GOOD]})
    ask(found, client.answer, BEGUN, 0, 1, Tally())
    assert [r.group for r in client.rounds[0]] == [7, 7, 9, 9]
    assert len({r.seed for r in client.rounds[0]}) == 4


# --- from tables to prompts --------------------------------------------------------------------------

TEMPLATE = ExplainerTemplate("S", "{{ sign }}\n{% for e in excerpts %}\n<{{ e }}>\n{% endfor %}")
NEURONS = [5, 699]
POOL, KEPT = 8, 10


@pytest.fixture(scope="module")
def tables(corpus, tmp_path_factory):
    """(exemplars, statistics, texts) of two neurons: 5 fires on both sides, 699 on the negative one alone, and
    positively only in part of the exemplars of 5."""
    texts = read_texts(corpus["train"], set(range(40)))
    folder = tmp_path_factory.mktemp("tables")
    rows, statistics = [], []
    for neuron in NEURONS:
        for sign in SIGNS:
            direction = 1 if sign == "positive" else -1
            for rank in range(KEPT):
                text = texts[(neuron + 7 * rank + (sign == "negative")) % 40]
                activations = np.zeros(len(text.evidence), np.float32)
                # Of 5, positive exemplars from rank 6 on are not driven.
                if sign == "negative" or (neuron == 5 and rank < 6):
                    activations[rank % len(activations)] = direction * (20 - rank)
                rows.append(
                    {"split": "train", "layer": 1, "neuron": neuron, "sign": sign, "kind": "top", "rank": rank}
                    | {"seq_id": (neuron + 7 * rank + (sign == "negative")) % 40, "activations": activations.tolist()}
                    | {"peak": float(direction * (direction * activations).max())}
                )
        quantiles = {
            quantile_column(tail, sign): (1 if sign == "positive" else -1) * threshold
            for sign in SIGNS
            for tail, threshold in zip(TAILS, (19.5, 17.5, 15.5, 12.5, 10.5))
        }
        statistics.append(
            {"split": "train", "layer": 1, "neuron": neuron, "tokens": 1000, "mean": 0.0, "std": 1.0}
            | {"min": -20.0, "max": 20.0}
            | quantiles
        )
    # What is not train, not top or another neuron's must not be looked at.
    noise = [r | {"split": "valid", "seq_id": 0} for r in rows] + [r | {"kind": "random", "seq_id": 1} for r in rows]
    noise += [r | {"neuron": 6} for r in rows]
    exemplars, stats = str(folder / "exemplars.parquet"), str(folder / "statistics.parquet")
    write_table(pa.Table.from_pylist(noise + rows, schema=EXEMPLARS), exemplars)
    others = [s | {"split": "test", "upper_1e-8": 1.0} for s in statistics]
    write_table(pa.Table.from_pylist(statistics + others, schema=STATISTICS), stats)
    return exemplars, stats, texts


FEW_SHOT = {"place": "none"}


@pytest.fixture(scope="module")
def prepared(tables, corpus, tokenizer, tmp_path_factory):
    """Candidates by settings; neuron 5 and neuron 699's negative side have concepts."""
    found = str(tmp_path_factory.mktemp("concepts") / "found.parquet")
    rows = [
        {"layer": 1, "neuron": neuron, "sign": sign, "candidate": number, "sentence": said, "parts": "{}"}
        for neuron, sign, said_ in (
            (5, "positive", ["a; b", "a"]),
            (5, "negative", [NO_PATTERN]),
            (699, "negative", ["c"]),
        )
        for number, said in enumerate(said_)
    ]
    write_table(pa.Table.from_pylist(rows, schema=FOUND_CONCEPTS), found)

    def prepared(
        neurons=NEURONS, n_candidates=3, seed=0, most=5, template=TEMPLATE, n_tokens=0, n_concepts=0, samples=1,
        near_misses=1.0, **few_shot,
    ):  # fmt: skip
        settings = Descriptions(
            explainer={"client": "transformers", "model": "m"},
            candidates=n_candidates,
            samples=samples,
            pool=POOL,
            evidence_min=3,
            evidence_max=most,
            few_shot=FewShot(**FEW_SHOT | few_shot),
            token_candidates=n_tokens,
            concept_candidates=n_concepts,
            near_misses=near_misses,  # 1: a threshold decides alone
        )
        files = EvidenceFiles(corpus["train"], [tables[0]], [tables[1]], [found])
        return prepare(neurons, 1, files, Prompting(tokenizer, template), settings, seed)

    return prepared


def test_concept_candidates_come_last_and_ask_nobody(prepared):
    plain, found = prepared(n_tokens=1), prepared(n_tokens=1, n_concepts=2)
    assert [c.identity() for c in found if c.candidate < 4] == [c.identity() for c in plain]
    concepts = [c for c in found if c.candidate >= 4]
    assert [c.candidate for c in concepts] == [4, 5] * 4
    assert {(c.explainer, c.prompt) for c in concepts} == {("concepts", None)}
    assert {c.status for c in concepts if (c.neuron, c.sign) == (699, "positive")} == {"no_activation"}
    said = [c.description for c in concepts]
    assert said == ["a; b", "a", None, None, None, None, "c", None]
    for candidate in concepts:
        if (candidate.neuron, candidate.sign) != (699, "positive"):
            assert candidate.status == ("unparsed" if candidate.description is None else "ok")


def test_without_an_explainer_no_client_is_opened(tables, corpus, smollm2, tmp_path):
    """The tables are those of a run that asks: tokens are named, nothing is spent, no file of answers appears."""
    settings = Descriptions(token_candidates=2, concept_candidates=0, pool=POOL, evidence_min=3, evidence_max=5)
    output, accounting = str(tmp_path / "found.parquet"), str(tmp_path / "accounting.parquet")
    inputs = {"corpus": corpus["train"], "exemplars": [tables[0]], "statistics": [tables[1]], "subject": smollm2}
    describe(
        Part(1, "chunk-0", NEURONS, 0), inputs | {"prompt": str(ROOT / settings.prompt)}, settings,
        str(tmp_path / "requests"), "",
        {"descriptions": output, "accounting": accounting},
    )  # fmt: skip
    rows = read_table(output, DESCRIPTIONS).to_pylist()
    assert len(rows) == len(NEURONS) * 2 * 2
    described = [row for row in rows if row["status"] == "ok"]
    assert described and {row["explainer"] for row in described} == {"tokens"}
    assert not any(is_debris(row["description"]) for row in described)
    (spent,) = read_table(accounting, ACCOUNTING).to_pylist()
    assert (spent["answers"], spent["prompt_tokens"], spent["candidates"], spent["explainer"]) == (0, 0, 0, "none")
    assert not (tmp_path / "requests").exists()


def user_message(candidate):
    return candidate.prompt.messages[-1]["content"]


def test_candidates_come_by_neuron_sign_and_number(prepared):
    who = [c.identity() for c in prepared()]
    assert who == [(1, neuron, sign, number) for neuron in NEURONS for sign in SIGNS for number in range(3)]


def test_sign_that_no_train_token_drives_has_nothing_to_describe(prepared):
    silent = [c for c in prepared() if (c.neuron, c.sign) == (699, "positive")]
    assert [(c.status, c.prompt, c.ranks) for c in silent] == [("no_activation", None, [])] * 3
    table = descriptions_table(silent, "smollm2")
    assert table.schema.names == DESCRIPTIONS.names
    for row in table.to_pylist():
        assert row["status"] == "no_activation"
        assert row["prompt_sha256"] is row["description"] is None
        assert (row["attempts"], row["prompt_tokens"], row["exemplar_ranks"]) == (0, 0, [])


def test_other_sign_of_that_neuron_is_described(prepared):
    assert all(c.prompt and c.ranks for c in prepared() if (c.neuron, c.sign) != (699, "positive"))


def test_evidence_is_of_the_pool_and_driven(prepared):
    found = prepared(n_candidates=60)
    ranks = {(c.neuron, c.sign): set() for c in found}
    for c in found:
        assert len(set(c.ranks)) == len(c.ranks)
        assert not c.ranks or 3 <= len(c.ranks) <= 5
        ranks[c.neuron, c.sign] |= set(c.ranks)
    assert ranks[5, "positive"] == set(range(6))
    assert ranks[5, "negative"] == ranks[699, "negative"] == set(range(POOL))


def test_prompt_shows_the_exemplars_drawn_in_their_order(prepared, tables, tokenizer):
    texts = tables[2]
    for c in prepared():
        if c.prompt:
            user = user_message(c)
            places = []
            assert user.startswith(c.sign)
            for rank in c.ranks:
                seq_id = (c.neuron + 7 * rank + (c.sign == "negative")) % 40
                shown = tokenizer.decode(texts[seq_id].evidence).rstrip("�")
                places.append(user.replace("{{", "").replace("}}", "").index(f"<{shown}>"))
            assert places == sorted(places)


def test_negative_sign_is_highlighted_where_it_is_most_negative(prepared, tables, tokenizer):
    """Peaks are 20 - rank at token `rank`, thresholds 19.5, 17.5, 15.5, 12.5: the strictest with 3 places."""
    texts = tables[2]
    for c in prepared(n_candidates=10):
        if c.sign == "negative":
            threshold = next(t for t in (19.5, 17.5, 15.5, 12.5, 10.5) if sum(20 - r >= t for r in c.ranks) >= 3)
            user = user_message(c)
            expected = [
                tokenizer.decode([texts[(c.neuron + 7 * r + 1) % 40].evidence[r]]).strip()
                for r in c.ranks
                if 20 - r >= threshold
            ]
            marked = [part.split("}}")[0] for part in user.split("{{")[1:]]
            assert [m.strip() for m in marked] == expected


def test_types_have_prompts_of_their_own(tables, corpus, tokenizer, tmp_path, prepared):
    """Exemplars that are drawn stay the same; what is shown beside them is the neuron's own."""
    types = str(tmp_path / "types.parquet")
    rows = [{"layer": 1, "neuron": n, "sign": sign, "type": kind} for n, kind in ((5, "token"), (699, "context"))
            for sign in SIGNS]  # fmt: skip
    write_table(pa.Table.from_pylist(rows, schema=NEURON_TYPES), types)
    listing = "{% for c in contributions %}{{ c.token }}¦{% endfor %}‖{% for s in silent %}{{ s }}¦{% endfor %}"
    by_type = {"token": ExplainerTemplate("T", listing)}
    raw = {"candidates": 3, "pool": POOL, "evidence_min": 3, "evidence_max": 5, "few_shot": FEW_SHOT}
    settings = Descriptions.model_validate({"explainer": {"model": "m"}, **raw})
    files = EvidenceFiles(corpus["train"], [tables[0]], [tables[1]], None, types)
    found = prepare(NEURONS, 1, files, Prompting(tokenizer, TEMPLATE, by_type), settings, 0)
    usual = {c.identity(): c for c in prepared()}
    for c in found:
        assert c.ranks == usual[c.identity()].ranks
        if c.neuron == 699:
            assert c.prompt == usual[c.identity()].prompt
        elif c.prompt:
            assert c.prompt.messages[0]["content"] == "T"
            tokens, silent = c.prompt.messages[1]["content"].split("‖")
            assert tokens and all(excerpt.count("{{") == 1 for excerpt in silent.split("¦")[:-1])
    assert found == prepare(NEURONS, 1, files, Prompting(tokenizer, TEMPLATE, by_type), settings, 0)
    alone = prepare([5], 1, files, Prompting(tokenizer, TEMPLATE, by_type), settings, 0)
    assert alone == [c for c in found if c.neuron == 5]


def test_more_candidates_keep_the_first_ones(prepared):
    few, many = prepared(n_candidates=2), {c.identity(): c for c in prepared(n_candidates=5)}
    assert all(many[c.identity()] == c for c in few)


def test_samples_share_their_draw_s_evidence_and_prompt(prepared):
    """Draw 0 is candidate 0's of a run without samples, and so on; what asks nobody stays as it is."""
    plain = {c.identity(): c for c in prepared(n_candidates=2, n_tokens=1)}
    sampled = prepared(n_candidates=6, samples=3, n_tokens=1)
    for c in sampled:
        named = c.candidate == 6
        draw = plain[c.layer, c.neuron, c.sign, 2 if named else c.candidate // 3]
        assert (c.ranks, c.prompt, c.description) == (draw.ranks, draw.prompt, draw.description)
    spoken = [c for c in sampled if c.prompt]
    assert len(spoken) == 3 * 6
    requests = []

    def answering(asked, done):
        requests.extend(asked)
        done({i: Answer(GOOD, 6, 1, True) for i in range(len(asked))}, True)

    ask(sampled, answering, BEGUN, 0, 1, Tally())
    assert [(r.place, r.same) for r in requests] == [(0, 3), (1, 3), (2, 3)] * 6
    assert len({r.seed for r in requests}) == 18
    assert [r.share(100) for r in requests[:3]] == [33, 33, 34]


def test_draws_and_samples_make_candidates():
    explainer = {"model": "m"}
    for raw, expected in (
        ({"draws": 2, "samples": 4}, (8, 4)),
        ({"draws": 3}, (3, 1)),
        ({"candidates": 8, "samples": 4}, (8, 4)),
        ({}, (5, 1)),
    ):
        found = Descriptions.model_validate({"explainer": explainer, **raw})
        assert (found.candidates, found.samples) == expected
    plain, drawn = (Descriptions(explainer=explainer, **raw) for raw in ({"candidates": 3}, {"draws": 3}))
    assert tracked(plain, exclude=["draws"]) == tracked(drawn, exclude=["draws"])
    for raw, said in (
        ({"draws": 2, "samples": 4, "candidates": 5}, "2 x 4, but candidates is 5; leave candidates out"),
        ({"candidates": 5, "samples": 2}, r"candidates is 5, no multiple of samples \(2\)"),
        ({"samples": 2}, r"candidates is 5, no multiple of samples \(2\)"),
        ({"draws": 2, "explainer": None, "token_candidates": 1}, "there is no explainer to write them"),
    ):
        with pytest.raises(ValueError, match=said):
            Descriptions.model_validate({"explainer": explainer, **raw})


def test_token_candidates_name_the_peaks_and_ask_nobody(prepared, tables, tokenizer):
    found = [c for c in prepared(n_tokens=2) if c.candidate >= 3 and (c.neuron, c.sign) != (699, "positive")]
    assert len(found) == 2 * 3 and all((c.status, c.explainer, c.prompt) == ("ok", "tokens", None) for c in found)
    rows = {(r["neuron"], r["sign"], r["rank"]): r for r in read_table(tables[0], EXEMPLARS).to_pylist()}
    for c in found:
        peaks = []
        for rank in sorted(c.ranks):
            row = rows[c.neuron, c.sign, rank]
            evidence = token_strings(tokenizer, tables[2][row["seq_id"]].evidence)
            peaks.append(evidence[int(np.argmax(np.abs(row["activations"])))].strip())
        assert any(peak and peak in c.description for peak in peaks), (c.description, peaks)
    table = descriptions_table(prepared(n_tokens=2), "smollm2").to_pylist()
    assert {row["explainer"] for row in table if row["candidate"] < 3} == {"smollm2"}
    assert {row["explainer"] for row in table if row["status"] == "ok"} == {"tokens"}


def test_more_candidates_change_no_token_candidate(prepared):
    few, many = (
        [(c.neuron, c.sign, c.ranks, c.description) for c in prepared(n_candidates=n, n_tokens=2) if c.candidate >= n]
        for n in (1, 3)
    )
    assert few == many


def test_neuron_alone_is_the_same_as_among_others(prepared):
    together = {c.identity(): c for c in prepared()}
    assert all(together[c.identity()] == c for neuron in NEURONS for c in prepared(neurons=[neuron]))


def test_neurons_signs_candidates_and_seeds_draw_differently(prepared):
    ranks = [tuple(c.ranks) for seed in (0, 1) for c in prepared(n_candidates=4, seed=seed, most=8) if c.ranks]
    assert len(ranks) == 24
    assert len(set(ranks)) > 18


# --- solved examples ---------------------------------------------------------------------------------

EXAMPLES = tuple(Example((f"an {{{{{i}}}}}",), f"[DESCRIPTION]: number {i}") for i in range(4))
SOLVED = ExplainerTemplate("S", "{{ excerpts | join('|') }}", examples=EXAMPLES)


def solved(candidate):
    return [
        int(a) for m in candidate.prompt.messages[:-1] for a in re.findall(r"DESCRIPTION\]: number (\d)", m["content"])
    ]


@pytest.mark.parametrize("place", ["system", "turns"])
def test_examples_in_fixed_order_are_the_first_ones(prepared, place):
    for count, expected in ((None, [0, 1, 2, 3]), (2, [0, 1]), (0, [])):
        found = [c for c in prepared(template=SOLVED, place=place, count=count) if c.prompt]
        assert all(solved(c) == expected for c in found)
        assert all(c.prompt.shared == len(c.prompt.messages) - 1 for c in found)
        shared = {str(c.prompt.messages[: c.prompt.shared]) for c in found}
        assert len(shared) == 1


@pytest.mark.parametrize(("place", "shared"), [("system", 0), ("turns", 1)])
def test_permuted_examples_are_drawn_for_each_candidate(prepared, place, shared):
    settings = {"template": SOLVED, "place": place, "count": 3, "order": "permuted"}
    found = {c.identity(): c for c in prepared(n_candidates=8, **settings) if c.prompt}
    orders = {tuple(solved(c)) for c in found.values()}
    assert all(len(set(order)) == 3 for order in orders) and len(orders) > 10
    assert {c.prompt.shared for c in found.values()} == {shared}
    for c in prepared(n_candidates=3, **settings):
        assert not c.prompt or c == found[c.identity()]
    for c in prepared(neurons=[699], n_candidates=3, **settings):
        assert not c.prompt or c == found[c.identity()]


# --- answers that think first ------------------------------------------------------------------------


@pytest.mark.parametrize("text", [" a, b\nPattern: the names of months", "", " months"])
def test_answer_that_never_reaches_the_marker_is_unparsed(text):
    for finished in (True, False):
        assert parse_answer("Marked:", text, finished) == (None, "unparsed")
        assert parse_answer("", text, finished) == (None, "unparsed")


def test_answer_that_thinks_first_is_what_follows_the_marker():
    text = " a, b\nPattern: [DESCRIPTION]: is what I must write\n[DESCRIPTION]: names of months\nExcerpt 1: c"
    assert parse_answer("Marked:", text, True) == ("names of months", "ok")
    assert parse_answer("", "Sure.\n\n**[DESCRIPTION]:** names of months", True) == ("names of months", "ok")
    assert parse_answer("", "I'm sorry, I can't tell.", True) == (None, "refused")
    assert parse_answer("", "Marked: sorry\n[DESCRIPTION]: I'm sorry, but no", True) == (None, "refused")


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("<think>Maybe [DESCRIPTION]: numbers</think>\n\n[DESCRIPTION]: names of months", "names of months"),
        ("[DESCRIPTION]: numbers</think>[DESCRIPTION]: names of months", "names of months"),  # begun by the template
        ("[THINK]x[/THINK][DESCRIPTION]: names of months", "names of months"),
        ("<|channel|>analysis<|message|>[DESCRIPTION]: x<|end|><|start|>assistant<|channel|>final<|message|>"
         "[DESCRIPTION]: names of months", "names of months"),
        ('[DESCRIPTION]: the tag "<think>" at the start', 'the tag "<think>" at the start'),
        ('[DESCRIPTION]: closing tags such as "</think>"', 'closing tags such as "</think>"'),
        ("<think>The format is [DESCRIPTION]: and then one phrase. Let me look at", None),
        ("<think>a</think><think>[DESCRIPTION]: months", None),
        ("[DESCRIPTION]: months\n<think>But then", None),
        ("[DESCRIPTION]: months</think>", None),
        ("<|channel|>analysis<|message|>[DESCRIPTION]: months", None),
    ],
)  # fmt: skip
def test_nothing_of_a_thought_is_read(text, description):
    for finished in (True, False):
        assert parse_answer("", text, finished)[0] == description
    assert parse_answer("", text, True)[1] == ("ok" if description else "unparsed")


# --- junk and clean forms ----------------------------------------------------------------------------

GOOD_DESCRIPTIONS = """
months of the year
words such as "the" and "of"
"the" after a preposition of place, just before a region or landmark is named
opening quotation marks (")
sizes in inches such as 5"
the characters , and ;
numbers such as 1,000 and 2,500
function calls such as `f(a,b)`
x = y; z = w; in code
C++ code: `std::vector<int>`, `a[i]++`
HTML tags such as <p> and </div>
SQL keywords: SELECT, FROM, WHERE
laughter such as "hahaha" or "ha ha ha"
repeated words such as "the the"
rows of dashes such as "-----"
words marked with asterisks
the replacement character "\ufffd"
the special token "<|im_start|>" before a turn
the token after <|begin_of_text|>
opening braces "{{" in templates
noms de mois en français, surtout « janvier »
Städte und Länder in Europa
слова о погоде
月の名前、特に「四月」
“smart quotes” in dialogue
emoji such as \U0001f600
New York, New York
years like 1990, 1991, 1992, 1993
the, of, and, to
possessives ('s) and contractions (n't)
words ending in "-ing", "-ed" or "-s"
- 5
www
1st, 2nd and 3rd
""".strip().splitlines()


@pytest.mark.parametrize("description", GOOD_DESCRIPTIONS)
def test_good_descriptions_stay_as_they_are(description):
    assert parse_answer(BEGUN, f" {description}\n", True) == (description, "ok")


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ('"months', "months"),
        ('months"', "months"),
        ('words like "the", "and", "of', 'words like "the", "and", of'),
        ("“months", "months"),
        ("“months of the year”", "months of the year"),
        ("months of the year**", "months of the year"),
        ("the, and, of,", "the, and, of"),
        ('"the", "and",', '"the", "and"'),
        ("- months", "months"),
        ("* months", "months"),
        ("1. months", "months"),
        ("- months\n- weeks,\n- years\nBecause", "months, weeks, years"),
        ("• the • and • of", "the, and, of"),
        ("the; and; of", "the, and, of"),
        ("the , and , of", "the, and, of"),
        ("the,and,of", "the, and, of"),
        ("words like the, and, the, of", "words like the, and, of"),
        ("mon\x00ths", "months"),
    ],
)
def test_quotes_bullets_and_lists_get_one_clean_form(text, description):
    assert parse_answer(BEGUN, " " + text, True) == (description, "ok")
    assert parse_answer(BEGUN, " " + description, True) == (description, "ok")


@pytest.mark.parametrize(
    "text",
    [
        "{{the}}, {{and}}, {{of}}",
        '"{{the}}"',
        "Excerpt 1: The State of the Union",
        'the words marked with double braces"',
        '"double braces"',
        "What kind of words are these? Answer in one short phrase.",
        "the the the the",
        "the, the, the, the, the",
        'like "the", "the", "the"',
        "of the of the of the of the of the",
        "aaaaaaaaaaaa",
        "的的的的",
        "months<|im_end|>",
        "months <|im_start|>user",
        "<|endoftext|> a",
        "word</s>",
        "[PAD] [PAD]",
        "a caf\ufffd",
    ],
)
def test_junk_is_unparsed_whatever_the_answer_began_with(text):
    for begun in (BEGUN, "[DESCRIPTION]: words like", "[DESCRIPTION]: the marked words are"):
        for finished in (True, False):
            assert parse_answer(begun, " " + text, finished) == (None, "unparsed")


def test_junk_is_asked_again():
    found, rounds = asked([" {{the}}", " months"], [GOOD])
    assert [(c.description, c.attempts) for c in found] == [("months", 2), ("months", 1)]
    assert [len(requests) for requests in rounds] == [2, 1]


# --- answers that are cut off ------------------------------------------------------------------------


def cut_off(texts, begun=""):
    """Candidates asked in vain: all answers end at max_tokens; (their texts, the tally)."""
    found, tally = candidates(len(texts)), Tally()

    def answer(requests, done):
        done({i: Answer(texts[int(r.prompt.answer)], 2, 8, False) for i, r in enumerate(requests)}, True)

    ask(found, answer, begun, 0, 3, tally)
    return [c.description for c in found], tally


@pytest.mark.parametrize("text", ["", "<think>Let me [DESCRIPTION]: see", "Marked: a, b"])
def test_a_part_that_is_cut_off_before_any_description_stops_after_one_round(text):
    with pytest.raises(ValueError, match=r"descriptions\.max_tokens: 6 of 6 answers are unparsed.*raise it"):
        cut_off([text] * 6)


def test_cut_answers_are_counted_and_do_not_stop_what_can_be_read():
    descriptions, tally = cut_off(["[DESCRIPTION]: months of"] * 2 + [""] * 5)
    assert descriptions == ["months of"] * 2 + [None] * 5
    assert tally.cut == tally.answers == 17
    assert "17 cut at max_tokens" in str(tally)
    assert tally.row(1, "m", [])["cut"] == 17
    assert cut_off([""] * 1)[1].cut == 3  # so few may be chance
    assert cut_off([" the the the the"] * 6, BEGUN)[1].unparsed == 18  # not for want of room
