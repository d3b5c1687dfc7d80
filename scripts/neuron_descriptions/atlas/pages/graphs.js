// ---- graphs: charts of the whole atlas (atlas/charting.py makes their numbers), and small ones of a feature

const STEP = 0.05;  // of the bins of a histogram

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined) node.setAttribute(name, value);
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

const label = (x, y, text, anchor = "middle", more = {}) => svg("text", {x, y, "text-anchor": anchor, ...more}, String(text));
const rect = (x, y, width, height, kind, title = null, more = {}) => svg("rect", {x, y, width: Math.max(0, width), height: Math.max(0, height), class: kind, ...more}, title ? svg("title", {}, title) : null);

// A drawing of so many units, its axes' words, and what it says in words.
const drawing = (width, height, words, ...content) => svg("svg", {viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": words}, content);

// A chart with its caption and, closed, its numbers as a table.
function figure(caption, words, chart, columns, rows) {
  return el("figure", {}, el("figcaption", {}, el("strong", {}, caption), el("span", {class: "small soft"}, ` ${words}`)),
    el("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": `chart: ${caption}`}, chart),
    el("details", {class: "small"}, el("summary", {}, "In numbers"), dataTable(`numbers: ${caption}`, columns.map((one) => [one]),
      rows.map(([first, ...values]) => el("tr", {}, el("th", {scope: "row"}, first), values.map((value) => el("td", {class: "number"}, value)))))));
}

const key = (series) => el("p", {class: "small key"}, series.map(({name, label: words}) => el("span", {}, el("i", {class: `patch ${name}`}), ` ${words} `)));

// Lines across at round values, with their names at the left.
function grid(left, right, yOf, values, words = (value) => number(value, 1)) {
  return values.map((value) => [svg("line", {x1: left, x2: right, y1: yOf(value), y2: yOf(value), class: value === 0 ? "zero" : "grid"}),
    label(left - 5, yOf(value) + 4, words(value), "end")]);
}

const underLayers = (layers, xOf, y, width) => layers.flatMap((layer, i) => i % Math.ceil(layers.length * 22 / width) ? [] : [label(xOf(i), y, layer)]);

// Of each layer 90 % and 50 % of the rows, and their median, for each series.
function bandsChart({name, layers: numbers, bands}) {
  const step = Math.max(12 * bands.length, Math.min(90, 560 / numbers.length)), width = 60 + step * numbers.length, height = 244;
  const values = bands.flatMap(({layers: own}) => own.flatMap((band) => band ? band.slice(0, 5) : []));
  const low = Math.min(0, Math.floor(Math.min(0, ...values) * 10) / 10), high = Math.max(0.1, Math.ceil(Math.max(0, ...values) * 10) / 10);
  const yOf = (value) => 10 + 200 * (high - value) / (high - low), xOf = (i) => 45 + step * (i + 0.5), wide = Math.min(14, step / bands.length - 3);
  const ticks = Array.from({length: Math.round((high - low) * 10) + 1}, (_, i) => Math.round(low * 10 + i) / 10).filter((_, i, all) => i % Math.ceil(all.length / 8) === 0 || all[i] === 0);
  const marks = bands.flatMap(({name: kind, label: words, layers: own}, j) => own.flatMap((band, i) => {
    if (!band) return [];
    const [least, lower, middle, upper, most, n] = band, x = xOf(i) + (j - (bands.length - 1) / 2) * (wide + 3);
    const title = `layer ${numbers[i]}, ${words}: median ${number(middle)}, half of the rows from ${number(lower)} to ${number(upper)}, 90 % from ${number(least)} to ${number(most)} (${count(n)} rows)`;
    return [svg("g", {class: `band ${kind}`}, svg("title", {}, title), rect(x - 1, yOf(most), 2, yOf(least) - yOf(most)),
      rect(x - wide / 2, yOf(upper), wide, yOf(lower) - yOf(upper), "half"), rect(x - wide / 2 - 1, yOf(middle) - 1.5, wide + 2, 3))];
  }));
  return figure("Scores by layer.", `The ${name}; of each layer the median, half of the rows (wide) and 90 % of them (thin).`,
    [key(bands), drawing(width, height, `${name} by layer, beside ${bands.slice(1).map((one) => one.label).join(" and ")}; the numbers stand below`,
      grid(40, width, yOf, ticks), marks, underLayers(numbers, xOf, 225, width), label(45 + step * numbers.length / 2, 238, "layer"))],
    ["Layer", ...bands.flatMap(({label: words}) => [`${words}: median`, "half of the rows", "rows"])],
    numbers.map((layer, i) => [String(layer), ...bands.flatMap(({layers: own}) => own[i] ? [number(own[i][2]), `${number(own[i][1])} to ${number(own[i][3])}`, count(own[i][5])] : ["–", "–", "0"])]));
}

function histogramChart({name, histogram: {low, series}}) {
  const bins = series[0].counts.length, width = 460, height = 220, most = Math.max(1, ...series.flatMap(({counts}) => counts));
  const xOf = (bin) => 60 + (width - 80) * bin / bins, yOf = (value) => 14 + 166 * (1 - value / most);
  const lines = series.map(({name: kind, label: words, counts}) => svg("path", {class: `line ${kind}`, d: `M${xOf(0)},${yOf(0)}${counts.map((n, i) => `V${yOf(n)}H${xOf(i + 1)}`).join("")}V${yOf(0)}`}, svg("title", {}, words)));
  const round = Number(most.toPrecision(1)), ticks = [...new Set([0, Math.round(round / 2), round])].filter((value) => value <= most * 1.05);
  const places = Array.from({length: Math.round((1 - low) / 0.25) + 1}, (_, i) => low + i / 4);
  return figure("How the scores are spread.", `Rows in steps of ${STEP} of the ${name}.`,
    [key(series), drawing(width, height, `histogram of the ${name}; the numbers stand below`, grid(55, width, yOf, ticks, count), lines,
      places.map((value) => label(xOf((value - low) / STEP), 196, number(value))), label((width + 40) / 2, 214, name))],
    ["From", ...series.map((one) => one.label)], series[0].counts.map((_, i) => [number(low + i * STEP), ...series.map(({counts}) => count(counts[i]))])
      .filter((row) => row.slice(1).some((value) => value !== "0")));
}

// Rows by both numbers; the darker, the more.
function againstChart({name, against: {low, label: words, counts}}) {
  const bins = counts.length, size = 220, most = Math.max(1, ...counts.flat()), at = (bin) => size * bin / bins, cells = [];
  let above = 0, all = 0;
  counts.forEach((row, own) => row.forEach((n, other) => {
    if (!n) return;
    all += n;
    if (own > other) above += n;
    const title = `${name} ${number(low + own * STEP)} to ${number(low + (own + 1) * STEP)}, look-up ${number(low + other * STEP)} to ${number(low + (other + 1) * STEP)}: ${count(n)} rows`;
    cells.push(rect(60 + at(other), 10 + size - at(own + 1), size / bins, size / bins, "cell", title, {"fill-opacity": (0.2 + 0.8 * Math.log1p(n) / Math.log1p(most)).toFixed(2)}));
  }));
  const places = Array.from({length: Math.round((1 - low) / 0.5) + 1}, (_, i) => low + i / 2), scale = (value) => size * (value - low) / (1 - low);
  return figure("Description against look-up.", `Below the line a look-up of tokens tells more than the description: ${words}.`,
    drawing(300, 270, `${count(all)} rows by ${name} and look-up; ${count(above)} lie in a step above that of the look-up`, places.map((value) => [label(55, 14 + size - scale(value), number(value, 1), "end"), label(60 + scale(value), 26 + size, number(value, 1))]),
      svg("path", {d: `M60,10V${10 + size}H${60 + size}`, class: "line grid"}), svg("line", {x1: 60, y1: 10 + size, x2: 60 + size, y2: 10, class: "zero"}), cells,
      label(60 + size / 2, 46 + size, "look-up"), label(-10 - size / 2, 16, name, "middle", {transform: "rotate(-90)"})),
    ["What", "rows"], [["in a higher step than the look-up", count(above)], ["in the same or a lower one", count(all - above)]]);
}

function typesChart({layers: numbers, types: {names, layers: own}}) {
  const step = Math.max(16, Math.min(60, 420 / numbers.length)), width = 70 + step * numbers.length, xOf = (i) => 55 + step * (i + 0.5);
  const bars = own.flatMap((counts, i) => {
    const all = counts.reduce((sum, n) => sum + n, 0) || 1;
    let below = 0;
    return counts.map((n, k) => rect(xOf(i) - step * 0.4, 10 + 160 * (1 - (below += n / all)), step * 0.8, 160 * n / all, `type-${names[k]}`, `layer ${numbers[i]}, ${names[k]}: ${count(n)} rows (${percentile(100 * n / all)})`));
  });
  return figure("Types by layer.", "What tells most of an activation.",
    [key(names.map((one) => ({name: `type-${one}`, label: one}))), drawing(width, 215, "types of each layer's rows; the numbers stand below",
      grid(50, width, (value) => 10 + 160 * (1 - value), [0, 0.5, 1], (value) => `${100 * value} %`), bars, underLayers(numbers, xOf, 187, width), label(55 + step * numbers.length / 2, 205, "layer"))],
    ["Layer", ...names], numbers.map((layer, i) => [String(layer), ...own[i].map(count)]));
}

function costChart({layers: numbers, cost: {unit, layers: own}}) {
  const step = Math.max(12, Math.min(60, 420 / numbers.length)), width = 80 + step * numbers.length, most = Math.max(1e-9, ...own.map((value) => value ?? 0)), xOf = (i) => 65 + step * (i + 0.5);
  const words = (value) => unit === "dollars" ? `$${significant(value)}` : count(value);
  return figure("What describing took.", `In ${unit}, by layer.`, drawing(width, 200, `${unit} by layer; the numbers stand below`,
    grid(60, width, (value) => 10 + 150 * (1 - value / most), [0, most], words),
    own.map((value, i) => isNumber(value) ? rect(xOf(i) - step * 0.4, 10 + 150 * (1 - value / most), step * 0.8, 150 * value / most, "bar-cost", `layer ${numbers[i]}: ${words(value)}`) : null),
    underLayers(numbers, xOf, 177, width), label(65 + step * numbers.length / 2, 195, "layer")),
  ["Layer", unit], numbers.map((layer, i) => [String(layer), isNumber(own[i]) ? words(own[i]) : "–"]));
}

// Drawn when they are first opened: their numbers are in the page.
function prepareGraphs() {
  const box = byId("graphs"), found = ATLAS.charts;
  box.hidden = !found?.layers.length;
  if (box.hidden) return;
  box.addEventListener("toggle", () => {
    if (box.childElementCount > 1) return;
    box.append(el("div", {class: "figures"}, bandsChart(found), histogramChart(found), againstChart(found),
      ...found.types ? [typesChart(found)] : [], ...found.cost ? [costChart(found)] : []));
  });
}

// How often a feature's activation has which size; the height is a logarithm, since large ones are rare.
function histogramOf({from, to, counts}) {
  const width = 420, height = 110, bins = counts.length, most = Math.log10(1 + Math.max(1, ...counts)), at = (value) => 10 + (width - 20) * (value - from) / (to - from || 1);
  const all = counts.reduce((sum, n) => sum + n, 0), edge = (i) => significant(from + (to - from) * i / bins);
  const bars = counts.map((n, i) => {
    const tall = 70 * Math.log10(1 + n) / most, middle = from + (to - from) * (i + 0.5) / bins;
    return rect(10 + (width - 20) * i / bins, 80 - tall, (width - 20) / bins - 1, tall, middle < 0 ? "below" : "above", `${edge(i)} to ${edge(i + 1)}: ${count(n)} of ${count(all)} tokens`);
  });
  const half = counts.findIndex((_, i) => counts.slice(0, i + 1).reduce((sum, n) => sum + n, 0) * 2 >= all);
  return drawing(width, height, `activations of ${count(all)} tokens from ${significant(from)} to ${significant(to)}; half of them below ${edge(half + 1)}`, bars,
    svg("line", {x1: 10, x2: width - 10, y1: 80, y2: 80, class: "grid"}), from < 0 && to > 0 ? svg("line", {x1: at(0), x2: at(0), y1: 5, y2: 84, class: "zero"}) : null,
    label(10, 98, significant(from), "start"), from < 0 && to > 0 && at(0) > 60 && at(0) < width - 60 ? label(at(0), 98, "0") : null, label(width - 10, 98, significant(to), "end"));
}
