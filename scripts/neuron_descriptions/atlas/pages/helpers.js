"use strict";
// The atlas of neuron descriptions: a table of all neurons (ATLAS.kind "atlas"), or the page of one ("neuron").
// Data files (none in a report: ATLAS.packed) are loaded as scripts, since fetch() does not work on file:// pages. All texts (from web corpora and
// language models) enter the page through textContent or setAttribute, never as HTML.

const PAGE_ROWS = 100;
const byId = (id) => document.getElementById(id);
// What a feature of this run is called.
const NOUN = ATLAS.noun ?? "neuron", CAPITAL = NOUN[0].toUpperCase() + NOUN.slice(1);
const PLACE_NAMED = "5/699/positive";  // an example of a row's place
const isAtlas = ATLAS.kind === "atlas";
const layers = ATLAS.layers ?? [];
const TYPE_NAMES = [...byId("filters").elements.type.options].map((option) => option.value).filter(Boolean).sort();
const SIGNS = {positive: "+", negative: "−"};
const SIGN_WORDS = {positive: "+ positive activations", negative: "− negative activations"};
// Without a simulator there is none of its scores.
const SIMULATED = Boolean(ATLAS.simulator), UNSCORED = ATLAS.chosen === "not yet";
const STATUS = !SIMULATED ? {
  described: ["described", ""],
  no_activation: ["no activation", `The ${NOUN} has no activation of this sign on the training text, so there was nothing to describe.`],
  no_description: ["no description", "There is no usable description (see the candidates)."],
} : {
  beats_chance: ["beats chance", ""],
  not_shown: ["not shown", ""],  // reasonOf() says which condition failed
  at_chance: ["at chance", "the contrast score is not above what nulls get (descriptions of other neurons, lists of their tokens, the empty one), chosen among as many in the same way."],
  scored: ["scored", "nothing tells whether this beats chance: no nulls were tried on this text."],
  no_activation: ["no activation", `The ${NOUN} has no activation of this sign on the training text, so there was nothing to describe.`],
  few_firings: ["fires too rarely", `The ${NOUN} fires in fewer tokens of the training text than the run asks for (features.min_firings), so nothing was described.`],
  no_description: ["no description", "The explainer model gave no usable description: its answers were refusals or could not be read (see the candidates)."],
  no_score: ["no score", "There is a description, but it could not be scored, for instance because the predicted or the real activations do not vary on the test text."],
};
const statusOf = (row) => row.status === "ok" ? row.chance?.replace(" ", "_") ?? (SIMULATED ? "scored" : "described") : row.status;
// The two scores of a row, each with its interval, the mark of chance (what the nulls get that are chosen as the
// candidate was), and the token look-up's: on text as it comes, and on the contrast sequences.
const naturalOf = (row) => ({name: "score", score: row.score, low: row.score_low, high: row.score_high,
  chance: row.panel_best_null_score ?? row.panel_null_score, tokens: row.token_baseline_score});
const contrastOf = (row) => ({name: "contrast score", score: row.score_contrast, low: row.score_contrast_low,
  high: row.score_contrast_high, chance: row.best_null_score ?? row.null_score, tokens: row.token_baseline_contrast});
const isMeasured = ({score, tokens}) => isNumber(score) || isNumber(tokens);
const CANDIDATE_STATUS = {ok: "ok", refused: "the explainer refused", unparsed: "answer could not be read", no_activation: "nothing to describe",
  few_firings: "fires too rarely"};

// ---- small helpers

const legend = byId("legend");  // moves between the table and the neuron
const headings = [...byId("rows").tHead.rows[0].cells];
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const number = (value, digits = 2) => isNumber(value) ? value.toFixed(digits).replace(/^-(?=.*[1-9])/, "−").replace("-", "") : "–";
const significant = (value) => isNumber(value) ? String(Number(value.toPrecision(3))).replace("-", "−") : "–";
const percentile = (value) => isNumber(value) ? `${Number(value.toFixed(1))} %` : "–";
const count = (value) => isNumber(value) ? value.toLocaleString("en") : "–";
const interval = ({low, high}) => isNumber(low) && isNumber(high) ? `[${number(low)}, ${number(high)}]` : "";

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

const terms = (pairs) => pairs.map(([term, ...value]) => el("div", {}, el("dt", {}, term), el("dd", {}, ...value)));

// Why a row has the status that it has, in words; empty where it beats chance.
function reasonOf(row) {
  const status = statusOf(row);
  if (status === "no_description" && row.candidates?.length === 0) return "No description of this sign was given.";
  if (status !== "not_shown") return STATUS[status]?.[1] ?? "";
  const measure = contrastOf(row);
  const failed = {
    interval: `its interval ${interval(measure)} reaches down to ${measure.chance > 0 ? `chance (${number(measure.chance)})` : "0"}`,
    rank: `it is above only ${percentile(row.best_null_percentile)} of what nulls get, chosen in the same way; 95 % is asked for`,
  };
  return `the contrast score lies above chance, but ${(row.chance_failed ?? "").split(", ").map((name) => failed[name]).filter(Boolean).join("; and ")}.`;
}
