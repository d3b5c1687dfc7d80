// ---- search by meaning: atlas/semantic.py packs vectors of all descriptions, and of a vocabulary's pieces, by which what is searched for is
// embedded here in the same way. Loaded when somebody searches so for the first time.

const HAS_MEANING = Boolean(ATLAS.semantic) && !ATLAS.packed, UNMERGED = 0xFFFFFFFF, NEAREST = 10000;
let vocabulary = null;  // pieces with their numbers, ranks and vectors

// What of a search is words, as it was typed.
const queries = {text: null};
function queryOf(text) {
  if (queries.text !== text) Object.assign(queries, {text, words: searchTerms(text).filter(({word}) => word).map(({said}) => said).join(" ")});
  return queries.words;
}
const byMeaning = () => HAS_MEANING && state.by === "meaning" && queryOf(state.q) !== "";

async function loadMeaning() {
  if (!vocabulary) {
    say("Loading meanings…");
    const data = await loadScript("meaning/vocabulary.js");
    if (data) vocabulary = {...data.arrays, numbers: new Map(Array.from(pieces(data.arrays.pieces, 255), (piece, i) => [piece, i]))};
  }
  let loaded = 0;
  for (const block of loadedBlocks()) {
    loaded++;
    if (block.vectors) continue;
    say(`Loading meanings… ${loaded} of ${layers.length} layers`);
    const data = await loadScript(`meaning/layer-${block.layer}.js`);
    if (data) keepVectors(block, data.arrays.vectors);
  }
}

function keepVectors(block, vectors) {
  const D = ATLAS.semantic, sizes = new Float32Array(block.n);
  for (let i = 0, at = 0; i < block.n; i++) {
    let sum = 0;
    for (const end = at + D; at < end; at++) sum += vectors[at] * vectors[at];
    sizes[i] = Math.sqrt(sum);
  }
  Object.assign(block, {vectors, sizes});
}

// Numbers of the pieces that a text is cut into: of all neighbours those become one that were merged first, again and again (byte-pair encoding,
// Sennrich et al. 2016). What the vocabulary lacks is written in bytes.
function piecesOf(text) {
  const {numbers, ranks} = vocabulary, parts = text ? [...`▁${text.replaceAll(" ", "▁")}`] : [];
  for (;;) {
    let first = UNMERGED, at = -1;
    for (let i = 0; i + 1 < parts.length; i++) {
      const rank = ranks[numbers.get(parts[i] + parts[i + 1])] ?? UNMERGED;
      if (rank < first) [first, at] = [rank, i];
    }
    if (at < 0) break;
    parts.splice(at, 2, parts[at] + parts[at + 1]);
  }
  const byte = (one) => numbers.get(`<0x${one.toString(16).toUpperCase().padStart(2, "0")}>`);
  return parts.flatMap((part) => numbers.get(part) ?? Array.from(new TextEncoder().encode(part), byte));
}

// The mean of its pieces' vectors.
function vectorOf(text) {
  const D = ATLAS.semantic, sum = new Float32Array(D), found = piecesOf(text);
  for (const piece of found) for (let d = 0; d < D; d++) sum[d] += vocabulary.vectors[piece * D + d] * vocabulary.step[piece];
  return sum.map((value) => value / found.length);
}

// How near a block's descriptions are to what is searched for: the cosine in NEAREST-ths, from 0 (opposite) to twice that; MISSING where there is none.
function nearness(block) {
  const query = queryOf(state.q), D = ATLAS.semantic;
  if (block.nearTo === query) return block.near;
  const near = new Uint32Array(block.n).fill(MISSING), wanted = vocabulary && query ? vectorOf(query) : null;
  const {vectors, sizes} = block, size = wanted ? Math.hypot(...wanted) : 0;
  // In whole numbers, as the rows' are: a product is several times as fast.
  const largest = largestOf(wanted ?? []), q = Int32Array.from(wanted ?? [], (value) => Math.round(127 * value / largest)), qSize = Math.hypot(...q);
  if (vectors && size > 0) for (let i = 0, at = 0; i < block.n; i++) {
    let one = 0, two = 0, three = 0, four = 0;  // side by side, since each waits for itself alone; D is a multiple of 8
    for (let d = 0; d < D; d += 4, at += 4) {
      one = one + Math.imul(vectors[at], q[d]) | 0;
      two = two + Math.imul(vectors[at + 1], q[d + 1]) | 0;
      three = three + Math.imul(vectors[at + 2], q[d + 2]) | 0;
      four = four + Math.imul(vectors[at + 3], q[d + 3]) | 0;
    }
    if (sizes[i] > 0) near[i] = Math.round(NEAREST * (1 + (one + two + three + four) / (sizes[i] * qSize)));
  }
  Object.assign(block, {near, nearTo: query});
  return near;
}

function nearAt(block, i) {
  const near = nearness(block)[i];
  return near === MISSING ? null : near / NEAREST - 1;
}
