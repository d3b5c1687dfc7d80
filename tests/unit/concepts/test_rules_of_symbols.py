"""Rules about symbols, whitespace, pieces of words, function words, code and mark-up."""

import pytest

from conftest import ROOT
from neuron_descriptions.concepts.rules import PLAIN, held_out, learnt_rules, rules_by_group
from neuron_descriptions.concepts.rules_of_symbols import SYMBOLS
from neuron_descriptions.models.loading import token_strings

FILE = str(ROOT / "config/training/rules.yaml")
RULES = {rule.say[0]: rule for rules in SYMBOLS.values() for rule in rules}
CODE = [
    "def", " scale", "_", "by", "(", "x", ":", " int", " =", " ", "3", ")", " ->", " float", ":", "\n   ", ' """',
    "Scale", " it", '."""', "\n   ", " return", " self", ".", "fact", "or", "(", "x", ")", "  ", " #", " see", "\n",
    "\n",
]  # fmt: skip
PROSE = [
    "He",
    " didn",
    "'t",
    " pay",
    " $",
    "1",
    ",",
    "2",
    "0",
    "0",
    ".",
    "5",
    "0",
    "",
    "",
    " 🎉",
    "unh",
    "app",
    "ily",
    ".",
]
# What text of this repository lacks.
RARE = """Costs: £3, € 4.50, 20° north; see a & b, c ~ d; 2^x at the 3rd place! A well-known one: 25% of 5 km on
1998-2004, mail me@example.org; "so he said" and she, who was there? “Well”, they've had enough... It’s — he does.
Zorbly Quuxal Zorbic Vlixy Zorbable Zorbity Blivetor Zorbis Zorbens Grunkle Yokoxo Vlixan: we will hear my $5 MAX_SIZE
<p class="a">Fish &amp; chips</p> {% if x %}{{ name }}{% endif %} C:\\new #ff0000 v1.2.3 ŁÓDŹ
>>> camelCase == 0x1F
Title
=====

- item *bold* text
1. first
\t\ttabs\tand | bars |
:param x: what    is given\n:y: and; a //b; x[0] (2 of 3)
\tfunction __init__() { return !a; }
@decorated
raise ValueError('\\n%s' % [])
"""


@pytest.fixture(scope="module")
def sequences(tokenizer):
    """What is rare, and real text, 40 tokens each."""
    files = ["README.md", "scripts/neuron_descriptions/corpus/rows.py", "docs/how-to/train-a-simulator.md"]
    text = "\n\n".join((ROOT / file).read_text() for file in files)
    rare, tokens = (token_strings(tokenizer, tokenizer(read)["input_ids"]) for read in (RARE, text))
    return [rare, *(tokens[at : at + 40] for at in range(0, len(tokens), 40))]


def where(rule, tokens):
    return [token for token, holds in zip(tokens, RULES[rule].holds(tokens), strict=True) if holds]


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("underscores", ["_"]),
        ("opening brackets", ["(", "("]),
        ("text inside parentheses", ["x", ":", " int", " =", " ", "3", "x"]),
        ("the token after an opening parenthesis", ["x", "x"]),
        ("triple quotation marks", [' """', '."""']),
        ("quotes that open a docstring", [' """']),
        ("quotes that close a docstring", ['."""']),
        ("indentation", ["\n   ", "\n   "]),
        ("blank lines", ["\n", "\n"]),
        ("several spaces within a line", ["  "]),
        ("the first words of lines", ["def", " return"]),
        ("line breaks after a colon", ["\n   "]),
        ("names in snake_case", [" scale", "_", "by"]),
        ("names that are defined", [" scale", "_", "by"]),
        ("function calls", [" scale", "_", "by", "fact", "or"]),
        ("method calls", ["fact", "or"]),
        ("types that functions return", [" float"]),
        ("comment signs", [" #"]),
        ("comments in code", [" see"]),
        ("keywords of control flow", [" return"]),
        ("word pieces", ["or"]),
        ("spaces that stand alone", [" ", "  "]),
    ],
)
def test_rule_of_code_holds_where_it_should(rule, found):
    assert where(rule, CODE) == found


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("apostrophes within words", ["'t"]),
        ("amounts of money", [" $", "1", ",", "2", "0", "0", ".", "5", "0"]),
        ("commas within numbers", [","]),
        ("digits after a decimal point", ["5", "0"]),
        ("word pieces", ["app", "ily"]),
        ("the beginnings of uncommon words", ["unh"]),
        ("the middles of uncommon words", ["app"]),
        ("the endings of uncommon words", ["ily"]),
        ("characters beyond ASCII", [" 🎉"]),
        ("function words", ["He"]),
    ],
)
def test_rule_of_prose_holds_where_it_should(rule, found):
    """A character that is split over tokens stands at its last one: the others are no token of a rule."""
    assert where(rule, PROSE) == found


def test_every_rule_holds_somewhere_in_real_text_and_never_everywhere(sequences):
    tokens = sum(map(len, sequences))
    assert tokens > 5_000
    held = {name: sum(sum(rule.holds(some)) for some in sequences) for name, rule in RULES.items()}
    assert [name for name, count in held.items() if not 0 < count < 0.6 * tokens] == []


def test_no_rule_holds_of_half_a_character_or_depends_on_how_text_is_cut(sequences):
    tokens = [token for some in sequences[:8] for token in some]
    halves = [part for token in tokens for part in ("", token)]
    for name, rule in RULES.items():
        assert rule.holds([]) == []
        found = rule.holds(tokens)
        assert rule.holds(halves)[1::2] == found, name
        assert not any(rule.holds(halves)[::2]), name


def test_ways_to_say_rules_are_plain_and_those_of_no_other():
    ways = [way for rules in rules_by_group(FILE).values() for rule in rules for way in rule.say]
    assert len(ways) == len(set(ways)) and all(way.strip() == way != "" for way in ways)
    assert all(len(rule.say) >= 2 for rule in RULES.values())
    assert len(RULES) > 250


def test_a_quarter_of_each_group_is_never_learnt():
    learnt = {rule.say for rule in learnt_rules(FILE)}
    groups = rules_by_group(FILE)
    assert next(iter(groups)) == PLAIN
    for rules in groups.values():
        left_out = {rule.say for rule in held_out(rules)}
        assert len(left_out) == len(rules) // 4 and not left_out & learnt
        assert {rule.say for rule in rules} - left_out <= learnt
    assert held_out(groups[PLAIN]) == held_out(groups[PLAIN][::-1])
