// ---- packed data: atlas/packing.py writes it, and says how

const TYPED = {Int8Array, Uint8Array, Int16Array, Uint16Array, Uint32Array, Float32Array};
const STEPS = 100, PREDICTED = 200, NO_PREDICTION = 255;

function bytesOf(text, length) {  // 15 bits a character
  const bytes = new Uint8Array(length);
  for (let i = 0, at = 0, held = 0, bits = 0; at < length; i++) {
    held = held << 15 | text.charCodeAt(i) - 0x3400;
    for (bits += 15; bits >= 8 && at < length; ) bytes[at++] = held >> (bits -= 8);
    held &= (1 << bits) - 1;
  }
  return bytes;
}

const bytesOfBase64 = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
const unzipped = (bytes) => new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));

async function unpacked(bytes) {
  const buffer = await unzipped(bytes).arrayBuffer();
  let at = 4 + new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, at - 4))), arrays = {};
  for (const [name, type, length] of head.arrays) {
    arrays[name] = new TYPED[type](buffer, at, length);
    at += Math.ceil(arrays[name].byteLength / 8) * 8;
  }
  return {head, arrays};
}

function* pieces(bytes, end) {  // of UTF-8, which never has this byte
  const decoder = new TextDecoder();
  for (let from = 0, to; from <= bytes.length; from = to + 1) {
    to = bytes.indexOf(end, from);
    if (to < 0) to = bytes.length;
    yield decoder.decode(bytes.subarray(from, to));
  }
}

// Values of so many steps, with the decimals that the step bears out.
function levels(steps, step) {
  const scale = step ? 10 ** Math.max(0, Math.ceil(-Math.log10(step))) : 1;
  return Array.from(steps, (n) => Math.floor(n * step * scale + 0.5) / scale);
}

function neuronsOf({head, arrays}) {
  const strings = [...pieces(arrays.strings, 255)], {texts, lines, frequent} = head;
  const base = 2 ** (8 * arrays.second.BYTES_PER_ELEMENT), read = {first: 0, second: 0, activations: 0, predicted: 0, fires: 0, ranks: 0, candidates: 0};
  const take = (name, n) => arrays[name].subarray(read[name], read[name] += n);
  const token = (code) => strings[code < frequent ? code : frequent + base * (code - frequent) + take("second", 1)[0]];
  const tokens = texts.length.map((n) => Array.from(take("first", n), token));
  const values = lines.text.map((text, i) => levels(take("activations", texts.length[text]), lines.scale[i] / STEPS));
  const records = (group, listed, direction) => group.line.map((line, i) => {
    const text = lines.text[line], n = texts.length[text];
    const record = {split: group.split[i], kind: group.kind[i], rank: group.rank[i], seq_id: texts.seq_id[text], source: texts.source[text],
      tokens: tokens[text], activations: values[line]};
    if (group.gate) record.gate = group.gate[i];
    if (listed) record.fires = Array.from(take("fires", n), (part, t) => [t, part - 1]).filter(([, part]) => part >= 0);
    if (group.peak) return {...record, peak: group.peak[i] ?? direction * lines.scale[line]};
    const steps = take("predicted", n);
    return {...record, simulated: levels(steps, group.top[i] / PREDICTED).map((value, t) => steps[t] === NO_PREDICTION ? null : value)};
  });
  for (const neuron of head.neurons) for (const [name, sign] of Object.entries(neuron.signs)) {
    const columns = Object.entries(sign.candidates), n = columns[0]?.[1].length ?? 0;
    sign.candidates = Array.from({length: n}, (_, i) => Object.fromEntries(columns.map(([key, values]) => [key, values[i]])));
    for (const candidate of sign.candidates) {
      candidate.description = head.descriptions[read.candidates++];
      candidate.exemplar_ranks = Array.from(take("ranks", candidate.exemplar_ranks));
    }
    for (const group of ["exemplars", "simulated"]) sign[group] = records(sign[group], sign.concepts !== null, name === "negative" ? -1 : 1);
  }
  return head.neurons;
}
