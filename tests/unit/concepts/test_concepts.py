"""Concepts: predicates true where they should be, lists that find what was planted and predict what they say."""

import re
from dataclasses import replace

import numpy as np
import pytest

from conftest import ROOT
from neuron_descriptions.concepts.evidence import TextTable, exemplars_of
from neuron_descriptions.concepts.execution import ConceptList, read_list
from neuron_descriptions.concepts.predicates import KINDS, Predicate, Reader, stem_of, words_of
from neuron_descriptions.concepts.search import DEFAULTS, find_list, find_parts
from neuron_descriptions.concepts.survivors import FAVOUR
from neuron_descriptions.concepts.vocabulary import read_vocabulary
from neuron_descriptions.concepts.wording import INSIDE, NO_PATTERN, PLACES, SERIES, Part, readable, sayable, sentence

VOCABULARY = read_vocabulary(str(ROOT / "config/concepts/lists.yaml"))
READER = Reader(VOCABULARY)
DIGITS = ["In", " ", "1", "9", "4", "5"]


def test_words_join_letters_with_letters_and_digits_with_digits():
    tokens = [" un", "able", ",", " $", "1", ",", "2", "0", "0", ".", "5", ".", "\n", "x"]
    assert ["".join(tokens[i:j]) for i, j in words_of(tokens)] == [" unable", ",", " $", "1,200.5", ".", "\n", "x"]


@pytest.mark.parametrize(
    ("tokens", "kind", "value", "at"),
    [
        (["The", " un", "able", " man"], "word", "unable", [1, 2]),
        (["The", " un", "able", " man"], "piece", "un", [1]),
        (["The", " un", "able", " man"], "place", "last piece", [2]),
        (["The", " walking", " man"], "ending", "ing", [1]),
        (["The", " walking", " man"], "after", "the", [1]),
        (["she", " walked", " walks"], "family", "walk", [1, 2]),
        (["in", " France", " now"], "list", "names of countries", [1]),
        (["in", " France", " now"], "list", "names of places", [1]),
        (["in", " May", " now"], "following", "names of months", [2]),
        (["a", " (", "b", " c", ")", " d"], "in", "parentheses", [2, 3, 4]),
        (["he", ' "', "b", " c", '"', " d"], "in", "quotes", [2, 3, 4]),
        (["x", " #", " set", "\n", "y"], "in", "comment", [2]),
        (DIGITS, "place", "year", [2, 3, 4, 5]),
        (DIGITS, "place", "second digit", [3]),
        (DIGITS, "place", "last digit", [5]),
        (DIGITS, "digits", "9", [3]),
        (["so", " $", "5", "0"], "place", "money", [2, 3]),
        (["0", ".", "7", "5"], "place", "decimals", [2, 3]),
        (["Yes", ".", " No", " way"], "place", "sentence", [0, 2]),
        (["one", "\n", "two", " three"], "place", "line", [0, 2]),
        (["one", "\n", "two"], "place", "line break", [1]),
        (["<|im_start|>", "user", "\n", "Hi"], "place", "turn", [0]),
        (["<|im_start|>", "user", "\n", "Hi"], "place", "role", [1]),
        (["<|im_start|>", "user", "\n", "Hi"], "in", "turn of user", [3]),
        (["<|im_start|>", "user", "\n", "Hi"], "word", "user", []),
        (["<|im_start|>", "ass", "istant", "\n", "Hi"], "piece", "istant", []),
        (["<|im_start|>", "ass", "istant", "\n", "Hi"], "after", "assistant", []),
        (["<|im_start|>", "ass", "istant", "\n", "Hi"], "following", "role", [3]),
        ([" the", " user", " left"], "word", "user", [1]),
        (["I", "'", "d", " go"], "word", "d", []),
        (["I", "'", "d", " go"], "piece", "d", [2]),
        ([" f", " of", " a"], "piece", "f", [0]),
        ([" f", " of", " a"], "word", "a", [2]),
        (["house", " and", " house"], "place", "repeated", [2]),
        ([" sea", " river", " sea", " lake", " a", " b"], "about", "words about water and the sea", [4, 5]),
        (["it", " is", " not", " so"], "list", "negations", [2]),
        (["a", ",", " b"], "mark", ",", [1]),
        (["f", "oo", "_bar"], "place", "code name", []),
        (["x", " my_name", " y"], "place", "code name", [1]),
        (["so", " мир", " x"], "place", "cyrillic", [1]),
    ],
)
def test_predicates_hold_where_they_should(tokens, kind, value, at):
    held = READER.held(tokens)
    assert [t for t, predicates in enumerate(held) if Predicate(kind, value) in predicates] == at


def test_what_follows_a_word_changes_nothing():
    text = ["He", " said", ":", ' "', "The", " un", "able", " man", " paid", " $", "1", "2", ".", "\n", "Yes"]
    whole = READER.held(text)
    for end in (len(text), 13, 9, 7, 4):
        assert READER.held(text[:end]) == whole[:end]


@pytest.mark.parametrize(
    "family",
    ["walk walks walked walking", "make makes making", "party parties", "plan planned planning", "family families",
     "apply applies applied applying", "movie movies", "use used uses using", "state states stated stating",
     "create creates created creating", "church churches", "die dies died", "agree agrees agreed agreeing",
     "control controls controlled controlling", "quick quickly", "age ages aging", "proceed proceeds proceeded"],
)  # fmt: skip
def test_families_hold_together(family):
    assert len({stem_of(word) for word in family.split()}) == 1


@pytest.mark.parametrize(
    "pair",
    ["care cars", "plane plan", "rate rats", "hope hops", "note nots", "good goods", "arm arms", "unit united",
     "new news", "even evening", "ear early", "like likely", "police policies", "family famine"],
)  # fmt: skip
def test_words_that_only_look_alike_are_no_family(pair):
    one, other = pair.split()
    assert stem_of(one) != stem_of(other)


@pytest.fixture(scope="module")
def texts():
    """Prose that does not change, cut into sequences of 40 tokens; every third long word in two."""
    found = re.findall(r" ?[A-Za-z]+| ?[^\W\d_]+|\n| ?\d| ?[^\w\s]+| ", (ROOT / "LICENSE").read_text())
    tokens = [piece for number, token in enumerate(found)
              for piece in ([token[:4], token[4:]] if len(token) > 8 and number % 3 == 0 else [token])]  # fmt: skip
    return {i: tokens[40 * i : 40 * i + 40] for i in range(len(tokens) // 40)}


@pytest.fixture(scope="module")
def table(texts):
    return TextTable(texts, READER)


def planted(texts: dict[int, list[str]], fires, seed: int = 0) -> dict[int, np.ndarray]:
    """Activations of a feature that follows a rule: fires(tokens, t) -> how strongly."""
    random = np.random.default_rng(seed)
    return {
        seq_id: np.array([fires(tokens, t) for t in range(len(tokens))]) + 0.05 * random.random(len(tokens))
        for seq_id, tokens in texts.items()
    }


def split(acts):
    """Two halves, as train and valid."""
    ids = sorted(acts)
    return ({i: acts[i] for i in ids[::2]}, {i: acts[i] for i in ids[1::2]})


PLANTED = {
    'the word "the"': lambda tokens, t: tokens[t].strip().lower() == "the",
    'what follows "of"': lambda tokens, t: t > 0 and tokens[t - 1] == " of",
    "commas": lambda tokens, t: tokens[t].strip() == ",",
    "numbers written in digits": lambda tokens, t: tokens[t].strip().isdigit(),
    "negations": lambda tokens, t: tokens[t].strip().lower() in VOCABULARY.lists["negations"],
    "auxiliary verbs": lambda tokens, t: tokens[t].strip().lower() in VOCABULARY.lists["auxiliary verbs"],
    "words in capitals": lambda tokens, t: len(tokens[t].strip()) > 1 and tokens[t].strip().isupper(),
}


@pytest.mark.parametrize("said", PLANTED)
def test_what_is_planted_is_found(texts, table, said):
    rule = PLANTED[said]
    train, valid = split(planted(texts, lambda tokens, t: float(bool(rule(tokens, t)))))
    found = find_list(table, exemplars_of(table, train), exemplars_of(table, valid))
    assert said in (found.first(1).sentence, *(sentence([part]) for part in found.parts[:2]))


@pytest.mark.parametrize(
    ("said", "fires"),
    [
        ('the word "bank" after "the"', lambda tokens, t: t > 0 and tokens[t - 1 : t + 1] == [" the", " bank"]),
        ('forms of "walk"', lambda tokens, t: "walk" in tokens[t]),
        ('words ending in "ness"', lambda tokens, t: tokens[t].endswith("ness")),
        ('the word "bank" inside parentheses', None),
    ],
)  # fmt: skip
def test_conjunctions_and_families_are_found(said, fires):
    random = np.random.default_rng(3)
    words = [" the", " a", " river", " house", " went", " of", " in", " bank", " walk", " walked", " walking", " (",
             ")", " kindness", " illness", " darkness", "\n"]  # fmt: skip
    texts = {i: [words[w] for w in random.integers(0, len(words), 40)] for i in range(80)}
    if "parentheses" in said:
        texts = {i: [" bank" if t % 5 == 3 else " (" if t % 10 == 1 else ")" if t % 10 == 4 else w.strip("\n") or " a"
                     for t, w in enumerate(tokens)] for i, tokens in texts.items()}  # fmt: skip
        fires = lambda tokens, t: tokens[t] == " bank" and t % 10 == 3  # noqa: E731
    table = TextTable(texts, READER)
    train, valid = split(planted(texts, lambda tokens, t: float(bool(fires(tokens, t)))))
    found = find_list(table, exemplars_of(table, train), exemplars_of(table, valid))
    assert found.first(1).sentence == said
    assert len(found.parts) == 1


def test_noise_and_silence_get_no_pattern(texts, table):
    random = np.random.default_rng(1)
    noise = {i: random.random(len(tokens)) for i, tokens in texts.items()}
    train, valid = split(noise)
    found = find_list(table, exemplars_of(table, train), exemplars_of(table, valid))
    assert (found.parts, found.sentence) == ((), NO_PATTERN)
    silent = exemplars_of(table, {i: np.zeros(len(tokens)) for i, tokens in texts.items()})
    assert find_list(table, silent, silent).parts == ()
    assert find_list(table, exemplars_of(table, {}), None).parts == ()


MIXED = {
    "the": 3.0, "license": 5.0, "of": 1.0, ",": 2.0, "in": 0.7, "work": 4.0, "any": 2.5,
}  # fmt: skip


def mixed(tokens, t):
    after = 1.5 if t and tokens[t - 1].strip() == "the" else 0.0
    return MIXED.get(tokens[t].strip().lower(), 0.0) + after


@pytest.fixture(scope="module")
def found(texts, table):
    """A list of several parts."""
    return find_parts(table, exemplars_of(table, planted(texts, mixed)))


def naive(found: ConceptList, tokens: list[str]) -> list[float]:
    """The prediction, token by token and part by part, from the text alone."""
    predicted = []
    for t in range(len(tokens)):
        held = [Reader(VOCABULARY).held(tokens)[t]]
        value = found.base
        for part in reversed(found.parts):
            wanted = {part.head} | ({part.narrowed} if part.narrowed else set())
            if wanted <= held[0]:
                value = part.weight
        predicted.append(value)
    return predicted


def test_predictions_are_those_of_a_naive_reading(texts, found):
    assert len(found.parts) > 3
    for tokens in list(texts.values())[:3]:
        np.testing.assert_array_equal(found.predict(tokens, READER), naive(found, tokens))
    assert found.predict([], READER).shape == (0,)


def test_weights_are_shrunk_means_of_what_no_earlier_part_took(texts, table, found):
    acts = planted(texts, mixed)
    tokens = [(held, a) for i in texts for held, a in zip(READER.held(texts[i]), np.maximum(acts[i], 0))]
    for part in found.parts:
        wanted = {part.head} | ({part.narrowed} if part.narrowed else set())
        inside = [a for held, a in tokens if wanted <= held]
        mean = np.mean([a for _, a in tokens])
        expected = (np.sum(inside) + DEFAULTS.shrink * mean) / (len(inside) + DEFAULTS.shrink)
        assert part.weight == pytest.approx(expected, rel=1e-9)
        tokens = [(held, a) for held, a in tokens if not wanted <= held]
    assert found.base == pytest.approx(np.mean([a for _, a in tokens]), rel=1e-9)


def test_a_list_reads_back_as_it_was_written(found):
    assert read_list(found.write()) == found
    empty = ConceptList()
    assert read_list(empty.write()) == empty
    assert (empty.sentence, empty.predict(["a", " b"], READER).tolist()) == (NO_PATTERN, [0.0, 0.0])


@pytest.mark.parametrize("text", ["", "[]", '{"parts": [{"is": ["word"]}], "base": 0}', '{"parts": [{"is": 3}]}'])
def test_what_is_no_list_is_an_error(text):
    with pytest.raises(ValueError, match="no list of concepts"):
        read_list(text)


def test_order_and_other_texts_change_nothing(texts, table):
    acts = planted(texts, mixed)
    some = dict(list(acts.items())[:30])
    alone = TextTable({i: texts[i] for i in some}, READER)
    found = find_parts(table, exemplars_of(table, some))
    backwards = dict(reversed(some.items()))
    assert find_parts(table, exemplars_of(table, backwards)) == found
    assert find_parts(alone, exemplars_of(alone, some)) == found


def test_heavier_sequences_count_as_if_they_occurred_more_often(texts, table):
    acts = planted(texts, mixed)
    ids = list(texts)[:30]
    copies = {**texts, **{10_000 + i: texts[i] for i in ids}}
    twice = TextTable(copies, READER)
    weighted = find_parts(table, exemplars_of(table, acts, dict.fromkeys(ids, 2.0)), DEFAULTS)
    repeated = find_parts(twice, exemplars_of(twice, acts | {10_000 + i: acts[i] for i in ids}), DEFAULTS)
    assert [p.head for p in weighted.parts[:3]] == [p.head for p in repeated.parts[:3]]
    assert weighted.parts[0].weight == pytest.approx(repeated.parts[0].weight)


def test_sequences_with_other_tokens_are_an_error(table, texts):
    seq_id = next(iter(texts))
    with pytest.raises(ValueError, match=f"sequence {seq_id} has"):
        exemplars_of(table, {seq_id: np.zeros(2)})


def test_the_shorter_list_wins_where_more_parts_say_nothing_new(texts, table):
    acts = planted(texts, lambda tokens, t: float(tokens[t].strip() == ","))
    train, valid = (exemplars_of(table, half) for half in split(acts))
    greedy = replace(DEFAULTS, gain=0.0)
    assert len(find_list(table, train, valid, greedy).parts) == 1
    assert len(find_list(table, train, None, greedy).parts) >= 1


def test_a_sentence_has_at_most_so_many_kinds_of_parts(texts, table):
    train = exemplars_of(table, planted(texts, mixed))
    free, bound = (find_parts(table, train, replace(DEFAULTS, groups=n, gain=0.0)) for n in (99, 2))
    assert len({part.group for part in free.parts}) > 2
    assert len({part.group for part in bound.parts}) == 2
    assert [p.head for p in bound.parts[:2]] == [p.head for p in free.parts[:2]]
    assert len(bound.parts) > 2


# --- words ---


def test_sentences_put_words_together():
    word, after = (lambda w: Part(Predicate("word", w))), (lambda w: Part(Predicate("after", w)))
    assert sentence([word("a"), word("b"), word("c")]) == 'the words "a", "b" and "c"'
    assert sentence([word("a"), after("b"), after("c")]) == 'the word "a" and what follows "b" or "c"'
    assert sentence([Part(Predicate("mark", ",")), word("a"), word("b")]) == 'commas; the words "a" and "b"'
    narrowed = Part(Predicate("word", "to"), Predicate("after", "according"))
    assert sentence([narrowed]) == 'the word "to" after "according"'
    assert sentence([Part(Predicate("list", "names of countries"), Predicate("after", ","))]) == (
        "names of countries after commas"
    )


def test_weak_parts_come_last_and_a_doubtful_list_says_so():
    word = lambda w, weight: Part(Predicate("word", w), None, weight)  # noqa: E731
    parts = [word("a", 0.2), word("b", 0.9), Part(Predicate("mark", ","), None, 0.1), word("c", 0.25)]
    assert ConceptList(tuple(parts), 0.0).sentence == 'the words "a", "b" and "c"; commas'
    said = ConceptList(tuple(parts), 0.0, peak=1.0)
    assert said.sentence == 'the words "b" and "c"; sometimes also: the word "a" and commas'
    assert said.first(1).sentence == 'sometimes: the word "a"'
    doubtful = replace(said, doubt=True)
    assert doubtful.first(2).sentence == (
        'many different things, among them: the word "b"; sometimes also: the word "a"'
    )
    assert doubtful.first(1).sentence == 'no clear pattern; sometimes: the word "a"'
    assert read_list(doubtful.write()) == doubtful and read_list(said.write()) == said
    assert ConceptList(peak=1.0, doubt=True).sentence == NO_PATTERN


def test_scraps_are_shown_in_a_word_and_stand_last():
    part = lambda kind, value, word="": Part(Predicate(kind, value), None, 1.0, word)  # noqa: E731
    scraps = [part("beginning", "supp", "supply"), part("piece", "ag", "agency"), part("piece", "ha", "shall")]
    said = 'words beginning with "supp", as in "supply"; the word pieces "ag" and "ha", as in "agency" and "shall"'
    assert sentence([*scraps, part("list", "negations"), part("ending", "ing")]) == (
        f'negations; words ending in "ing"; {said}'
    )
    assert sentence([part("ending", "ous"), part("ending", "le", "fragile")]) == (
        'words ending in "ous"; words ending in "le", as in "fragile"'
    )
    assert sentence([part("piece", "m")]) == 'the word piece "m"'
    fields = [part("list", "words about war", "army"), part("word", "seen"), part("list", "words about law", "court")]
    assert sentence(fields) == 'words about war, such as "army"; words about law, such as "court"; the word "seen"'
    assert sentence([*reversed(fields)]).startswith('words about law, such as "court"; words about war')


def test_phrases_are_joined_so_that_each_ends_where_it_ends():
    digit = Part(Predicate("digits", "2"), Predicate("after", "("))
    assert sentence([Part(Predicate("place", "year")), Part(Predicate("mark", ","))]) == "years and commas"
    assert sentence([Part(Predicate("place", "year")), digit]) == "years; the digit 2 after opening parentheses"
    follows = [Part(Predicate("following", "words about health and welfare")), Part(Predicate("after", "general"))]
    assert sentence(follows) == 'what follows "general" or words about health and welfare'
    both = Part(Predicate("following", "verbs of movement"), Predicate("following", "words about war"))
    assert sentence([both]) == "what follows verbs of movement that are also words about war"


def test_the_examples_that_a_list_has_of_its_own_are_quoted():
    need = "words about need, such as whenever and if"
    assert sentence([Part(Predicate("list", need))]) == 'words about need, such as "whenever" and "if"'
    assert sentence([Part(Predicate("place", "short word"), Predicate("following", need))]) == (
        'words of one or two letters after words about need (such as "whenever" and "if")'
    )


def test_sentences_say_what_is_alike_together():
    place = lambda *values: [Part(Predicate("place", value)) for value in values]  # noqa: E731
    assert sentence(place("middle piece", "first piece")) == "the beginnings and middles of uncommon words"
    assert sentence(place("third digit")) == "the third digits of numbers"
    digits = [*place("first digit", "year"), *place("last digit")]
    assert sentence(digits) == "the first and last digits of numbers; years"
    follows = [Part(Predicate("after", "the")), Part(Predicate("following", "year"))]
    assert sentence(follows) == 'what follows "the" or years'
    pieces = [Part(Predicate("piece", piece)) for piece in ("ha", "e")]
    assert sentence(pieces) == 'the word pieces "ha" and "e"'


def test_every_kind_and_place_has_words():
    assert set(FAVOUR) == set(KINDS)
    text = ["<|im_start|>", "user", "\n", "A", " b", "c", " d_e", " 1", ",", "2", "0", "0", ".", "5", " (", "U", "S",
            ")", " $", "9", " +", " мир", " café", " ☺", " Longworded", ".", "\n", "<", "p", ">", " {", "x", " [", "y",
            '"', "z"]  # fmt: skip
    for predicates in READER.held(text):
        for predicate in predicates:
            if predicate.kind in ("in",):
                assert predicate.value in INSIDE
            elif predicate.kind == "place":
                assert predicate.value in PLACES or predicate.value in SERIES
            if predicate.kind not in ("in", "about") and sayable(predicate):
                assert sentence([Part(predicate)])


DEBRIS = re.compile(r"<\||\|>|\ufffd|[\x00-\x1f`<>]|\"\"")


def test_no_sentence_holds_debris():
    """Everything that any token of an ugly text may bring into a sentence."""
    ugly = ["<|im_start|>", "user", "\n", '"', '"""', "�", " ��", "</", "div", ">", " `", "x", "`", "<|endoftext|>",
            " a\"b", "\t\t", " «", "»", "\x00", " naïve", "'", "s",
            " |", "|", " --", "---", "°", "x�y", "}`"]  # fmt: skip
    for predicates in READER.held([*ugly, "\n", " end", " x"]):
        for predicate in filter(sayable, predicates):
            contexts = [predicate] if predicate.kind in ("after", "following", "in", "about") else []
            said = [] if predicate.kind in ("in", "about") else [sentence([Part(predicate)])]
            said += [sentence([Part(Predicate("word", "a"), context)]) for context in contexts]
            for text in said:
                assert not DEBRIS.search(text), (predicate, text)
                assert text.count('"') % 2 == 0 and text == text.strip()


def test_readable_is_a_rule_of_length_and_scraps():
    words = [Part(Predicate("word", w)) for w in "abcdefghi"]
    assert readable(words[:8]) and not readable(words)
    assert not readable([])
    assert not readable([Part(Predicate("piece", "v"))])
    grab = [Part(Predicate("list", w)) for w in "abcd"]
    assert readable(grab[:3]) and not readable(grab)
