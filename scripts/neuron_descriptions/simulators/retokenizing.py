"""A sequence in the tokens of another tokenizer, and which of those belong to each of its own: matched by bytes."""

import json
from itertools import pairwise
from typing import Any

import numpy as np

from neuron_descriptions.corpus.reading import Text
from neuron_descriptions.models.conversations import plain_ids
from neuron_descriptions.models.loading import special_tokens, token_strings

Groups = list[list[int]]


class SameTokens:
    """For a simulator that has the subject's tokenizer: a sequence's own tokens, each for itself."""

    def prefix(self, text: Text) -> list[int]:
        """Ids of the template's prefix."""
        return text.input_ids[: text.prefix_len]

    def evidence(self, text: Text, keep_special: bool) -> tuple[list[int], None]:
        """Ids of the evidence; no groups: each predicts itself."""
        return text.evidence, None


class Retokenizer:
    """For a simulator with a tokenizer of its own."""

    def __init__(self, subject: Any, simulator: Any):
        self.subject, self.simulator = TokenBytes(subject), TokenBytes(simulator)
        self.special = special_tokens(subject)
        # A special token that both have, such as the end of a turn, stays one.
        own = {content: i for i, content in special_tokens(simulator).items()}
        self.shared = {i: own[content] for i, content in self.special.items() if content in own}

    def prefix(self, text: Text) -> list[int]:
        """Ids of the template's prefix."""
        return self._tokens(text.input_ids[: text.prefix_len], keep_special=True)[0]

    def evidence(self, text: Text, keep_special: bool) -> tuple[list[int], Groups]:
        """(ids of the evidence, per evidence token the places of those that share bytes with it).

        keep_special: special tokens that the simulator has too stay such; else they stand as their text."""
        ids, ends_I, starts_J, ends_J = self._tokens(text.evidence, keep_special)
        groups = []
        start = 0
        for end in ends_I:
            first = int(np.searchsorted(ends_J, start, "right"))  # the first that ends after this one's start
            last = int(np.searchsorted(starts_J, max(end, start + 1), "left"))
            # A token without text of its own takes what stands there.
            groups.append(list(range(first, last)) or [min(first, len(ids) - 1)] * bool(ids))
            start = end
        return ids, groups

    def _tokens(self, tokens: list[int], keep_special: bool) -> tuple[list[int], list[int], np.ndarray, np.ndarray]:
        """(simulator's ids; ends of the given tokens; starts and ends of the ids), counted in bytes of the text."""
        found: list[int] = []
        ends: list[int] = []
        starts_J: list[int] = []
        ends_J: list[int] = []
        start = 0
        for run, shared in self._runs(tokens, keep_special):
            pieces = self.subject.pieces(run)
            ends += (start + np.cumsum([len(piece) for piece in pieces])).tolist()
            whole = b"".join(pieces)
            if shared is not None:
                ids, spans = [shared], [(0, len(whole))]
            else:
                ids, spans = self._encode(whole)
            found += ids
            starts_J += [start + a for a, _ in spans]
            ends_J += [start + b for _, b in spans]
            start += len(whole)
        # Spans of a normalizing tokenizer may step back: searching needs them in order.
        return found, ends, np.maximum.accumulate(starts_J or [0]), np.maximum.accumulate(ends_J or [0])

    def _runs(self, tokens: list[int], keep_special: bool) -> list[tuple[list[int], int | None]]:
        """Runs of tokens of one text, and between them the special tokens that stay such: (tokens, shared id)."""
        runs: list[tuple[list[int], int | None]] = []
        for token in tokens:
            if keep_special and token in self.shared:
                runs.append(([token], self.shared[token]))
            elif runs and runs[-1][1] is None:
                runs[-1][0].append(token)
            else:
                runs.append(([token], None))
        return runs

    def _encode(self, whole: bytes) -> tuple[list[int], list[tuple[int, int]]]:
        """(ids, byte span of each) of bytes, which may begin or end inside a character: a stray byte is read as
        U+FFFD."""
        escaped = whole.decode("utf-8", "surrogateescape")
        text = "".join("\N{REPLACEMENT CHARACTER}" if "\ud800" <= c <= "\udfff" else c for c in escaped)
        origin: list[int] = []  # of every byte of the text, where it was
        for character, shown in zip(escaped, text):
            place = origin[-1] + 1 if origin else 0
            stray = character != shown
            origin += [place] * 3 if stray else range(place, place + len(shown.encode()))
        origin.append(len(whole))
        ids, spans = self.simulator.spans(text)
        return ids, [(origin[a], max(origin[b - 1] + 1, origin[a] + 1) if b > a else origin[a]) for a, b in spans]


class TokenBytes:
    """What bytes a tokenizer's tokens stand for."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        decoder = json.loads(tokenizer.backend_tokenizer.to_str())["decoder"]
        self.byte_level = "ByteLevel" in json.dumps(decoder)
        self.added = {i: token.content for i, token in tokenizer.added_tokens_decoder.items()}

    def pieces(self, ids: list[int]) -> list[bytes]:
        """Bytes of each token; joined, they are the text's."""
        if self.byte_level:
            names = self.tokenizer.convert_ids_to_tokens(ids)
            return [
                self.added[i].encode() if i in self.added else bytes(_BYTES[c] for c in name)
                for i, name in zip(ids, names)
            ]
        return [string.encode() for string in token_strings(self.tokenizer, ids)]

    def spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """(ids of a text, in which nothing is special; the span of its bytes that each stands for)."""
        ids = plain_ids(self.tokenizer, text)
        ends = np.cumsum([0, *(len(piece) for piece in self.pieces(ids))]).tolist()
        if b"".join(self.pieces(ids)) == text.encode():
            return ids, list(pairwise(ends))
        # One that normalizes: it says itself which characters of the text a token came from.
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
        places = np.cumsum([0, *(len(character.encode()) for character in text)]).tolist()
        return ids, [(places[a], places[b]) for a, b in encoded["offset_mapping"]]


def _byte_characters() -> dict[str, int]:
    """The character that byte-level tokenizers write for each byte: printable Latin-1 for itself, the others from
    U+0100 on, in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


_BYTES = _byte_characters()
