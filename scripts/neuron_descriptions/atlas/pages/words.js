// ---- descriptions: rows have numbers of words, as atlas/words.py packs them. A search looks for its pieces among the words, then for their numbers.

const WORDS_FILE = "rows/words.js";
const WORD = /[\u3000-\u9fff\uac00-\ud7a3\u{20000}-\u{3ffff}]?[A-Za-z0-9\x80-\u2fff\ua000-\uabff\ud7a4-\u{1ffff}\u{40000}-\u{10ffff}]*[^A-Za-z0-9\x80-\u{10ffff}]*/gu;
// The case of A to Z is nothing to a search.
const FOLD = Uint8Array.from({length: 256}, (_, byte) => byte >= 65 && byte <= 90 ? byte + 32 : byte);
const decoder = new TextDecoder(), encoder = new TextEncoder();
let lexicon = null;  // bytes of all words, where each begins, and which have capitals that are not A to Z

function keepWords({head, arrays}) {
  lexicon = {...arrays, capitals: head.capitals, n: arrays.at.length - 1};
}

// A number of one to four bytes, told by the first one.
const bytesOfNumber = (first) => first < 128 ? 1 : first < 192 ? 2 : first < 224 ? 3 : 4;
function numberAt(codes, at) {
  const first = codes[at];
  if (first < 128) return first;
  if (first < 192) return 128 + ((first & 63) << 8 | codes[at + 1]);
  if (first < 224) return 16512 + ((first & 31) << 16 | codes[at + 1] << 8 | codes[at + 2]);
  return 2113664 + ((first & 31) << 24 | codes[at + 1] << 16 | codes[at + 2] << 8 | codes[at + 3]);
}

function textAt({codes, at}, row) {
  const bytes = [];
  for (let place = at[row]; place < at[row + 1]; place += bytesOfNumber(codes[place])) {
    const number = numberAt(codes, place);
    for (let i = lexicon.at[number]; i < lexicon.at[number + 1]; i++) bytes.push(lexicon.text[i]);
  }
  return decoder.decode(Uint8Array.from(bytes));
}

const MOST_PIECES = 31;  // bits of a whole number, but for its sign

// What is looked for: of each word a bit for every piece that it may be. Where pieces follow each other the first may begin within its word, the
// last end within, and others are words.
function sought(text) {
  const all = text.match(WORD).filter(Boolean), pieces = all.slice(0, MOST_PIECES), last = pieces.length - 1;
  const {text: bytes, at, capitals, n} = lexicon, masks = new Int32Array(n);
  const mark = (i, k, spare, isAt) => {  // spare: how much longer the word is than the piece
    let found = false;
    if (spare >= 0) for (let from = k < last ? spare : 0; !found && from <= (k > 0 ? 0 : spare); from++) found = isAt(from);
    masks[i] = found ? masks[i] | 1 << k : masks[i] & ~(1 << k);
  };
  pieces.forEach((piece, k) => {
    const wanted = encoder.encode(piece), size = wanted.length;
    for (let i = 0; i < n; i++) mark(i, k, at[i + 1] - at[i] - size, (from) => {
      let same = 0;
      for (const begin = at[i] + from; same < size && FOLD[bytes[begin + same]] === wanted[same];) same++;
      return same === size;
    });
    for (const i of capitals) {
      const word = decoder.decode(bytes.subarray(at[i], at[i + 1])).toLowerCase();
      mark(i, k, word.length - piece.length, (from) => word.startsWith(piece, from));
    }
  });
  let had = 0;
  for (const mask of masks) had |= mask;
  return {text, masks, end: 1 << last, possible: had === 2 ** pieces.length - 1, isCut: all.length > MOST_PIECES};
}

// Which rows of a block, or of those marked, have the pieces one after the other: which of them it may be within is moved on word by word
// (Baeza-Yates and Gonnet 1992).
function rowsWith(block, {text, masks, end, isCut}, among) {
  const {codes, at, n} = block, marks = new Uint8Array(n);
  for (let row = 0, place = 0; row < n; row++) {
    const to = at[row + 1];
    if (among && among[row] === 0) place = to;
    for (let state = 0; place < to;) {
      const first = codes[place], number = first < 128 ? first : numberAt(codes, place);
      place += first < 128 ? 1 : bytesOfNumber(first);
      state = (state << 1 | 1) & masks[number];
      if ((state & end) === 0) continue;
      marks[row] = !isCut || textAt(block, row).toLowerCase().includes(text) ? 1 : 0;
      place = to;
    }
  }
  return marks;
}

// Whether rows have all of some texts in their descriptions: block -> number of a row -> whether.
function haveAll(texts) {
  const wanted = lexicon ? texts.sort((a, b) => b.length - a.length).map(sought) : [];
  if (!wanted.every(({possible}) => possible)) return () => nowhere;
  return (block) => {
    const marks = wanted.reduce((among, one) => rowsWith(block, one, among), null);
    return (row) => marks?.[row] === 1;
  };
}
