"""All rules of text that a simulator learns from or is judged on, by group, and which of them it never learns."""

from neuron_descriptions.common.streams import key
from neuron_descriptions.concepts.rules_of_passages import PASSAGES, SUBJECTS, rules_of_subjects
from neuron_descriptions.concepts.rules_of_symbols import SYMBOLS
from neuron_descriptions.concepts.rules_of_text import Rule, read_rules

HELD_OUT = 4  # one rule in so many is never learnt
PLAIN = "words and forms"  # the group of the rules of rules_of_text and of the file


def rules_by_group(path: str) -> dict[str, list[Rule]]:
    """All. path: a file of words. Raises ValueError that names the file where it is none."""
    found = {PLAIN: read_rules(path)} | {group: list(rules) for group, rules in (SYMBOLS | PASSAGES).items()}
    return found | {SUBJECTS: rules_of_subjects(path)}


def held_out(rules: list[Rule]) -> list[Rule]:
    """Of a group, those that are never learnt, so that a card can say what is heard of such: one in HELD_OUT."""
    return sorted(rules, key=lambda rule: key("held out rule", rule.say[0]))[: len(rules) // HELD_OUT]


def learnt_rules(path: str) -> list[Rule]:
    """All that are not held out. path: as above."""
    groups = [(rules, {rule.say for rule in held_out(rules)}) for rules in rules_by_group(path).values()]
    return [rule for rules, left_out in groups for rule in rules if rule.say not in left_out]
