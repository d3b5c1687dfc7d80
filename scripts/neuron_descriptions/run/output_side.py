"""The stages of the output side: what features write, how that is judged, scaled and put into words."""

from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.config.explainers import Endpoint, Explainer, TransformersExplainer
from neuron_descriptions.run.plans import Stage
from neuron_descriptions.run.reckoning import (
    DESCRIPTION,
    NAMED_SECONDS,
    PROMPT,
    ROW,
    SCALED,
    TABLE,
    TOKEN_SHOWN,
    UNEMBEDDED,
    VOCABULARY_SECONDS,
    Reckoning,
)


def output_side_stages(r: Reckoning) -> list[Stage]:
    """Down-projection columns through the unembedding: 2 operations for each number of either, the columns being a
    third of the model's parameters."""
    if not r.config.output_side:
        return []
    share = r.signs / len(SIGNS) / (r.config.subject.layers * r.config.subject.neurons_per_layer)
    model, tokens = r.config.subject.model, share * UNEMBEDDED / 3
    return [
        Stage("write_output_side", 1, r.model_job(model, tokens),
              r.megabytes(model, 4 * UNEMBEDDED * 512 + 2 * r.dictionary_bytes()),
              r.config.subject.devices, kept=r.signs * r.config.output_side.tokens * 12),
        *_judged_output_side(r, model),
        *_explained_output_side(r),
    ]  # fmt: skip


def _explained_output_side(r: Reckoning) -> list[Stage]:
    """An explainer reads the tokens of each feature and sign; a judge those that were held out, and as many others."""
    asked, d = r.config.output_side, r.config.descriptions
    if asked is None or not asked.explained or d.explainer is None:
        return []
    signs = r.signs / len(SIGNS) if r.config.features.one_sided else r.signs
    read = signs * (PROMPT + TOKEN_SHOWN * asked.tokens)
    generated = signs * (d.max_tokens or 2 * DESCRIPTION) / 2
    judge = asked.judge or d.explainer
    judged = signs * (1 + asked.others) * DESCRIPTION  # a local model reads one once, whatever the tokens
    if not isinstance(judge, TransformersExplainer):
        of_a_token = TOKEN_SHOWN + (PROMPT + DESCRIPTION) / asked.tokens_per_request
        judged = signs * (1 + asked.others) * asked.tokens * of_a_token
    return [
        _asking(r, "explain_output_side", d.explainer, read, generated),
        Stage("account_output_side", 1, r.reading(r.chunks), r.megabytes(None, 0), kept=TABLE + ROW * r.layers),
        _asking(r, "judge_output_tokens", judge, judged, 0.0),
    ]  # fmt: skip


def _asking(r: Reckoning, rule: str, asked: Explainer, read: float, generated: float) -> Stage:
    """A client's stage, a job for each chunk."""
    local = None if isinstance(asked, Endpoint) else asked.local_model()
    prices = asked.prices if isinstance(asked, Endpoint) else None
    tokens = (read + generated * r.p.generated_token_cost) / r.chunks
    seconds = r.reading(r.signs / r.chunks, r.p.answers_per_second) if local is None else r.model_job(local, tokens)
    cost = (read * prices.prompt + generated * prices.completion) / 1e6 if prices else 0.0
    return Stage(rule, r.chunks, seconds, r.megabytes(local, 0), 0 if local is None else getattr(asked, "devices", 1),
                 read=read, generated=generated, kept=r.signs * ROW + TABLE * r.chunks, endpoint=cost,
                 in_turn=local is None)  # fmt: skip


def _judged_output_side(r: Reckoning, model: str) -> list[Stage]:
    """One pass over a panel with the head, then places and words of each neuron and sign."""
    if r.config.panel is None:
        return []
    tokens = r.config.panel.tokens
    words = r.p.start_seconds + UNEMBEDDED * VOCABULARY_SECONDS + r.signs * NAMED_SECONDS
    stream = 4 * 0.3 * r.config.subject.neurons_per_layer * tokens  # of the residual stream, as wide as 0.3 of an MLP
    acts = r.neurons / r.layers * tokens * 8
    scaled = r.layers * getattr(r.config.output_side, "scaled", 0)
    return [
        Stage("judge_output_side", 1, r.model_job(model, tokens) + words,
              r.megabytes(model, stream + 6 * acts + 8 * UNEMBEDDED * 512 + 2 * r.dictionary_bytes()),
              r.config.subject.devices, read=tokens,
              kept=r.signs * ROW),
        *([Stage("scale_output_side", 1, r.model_job(model, SCALED * scaled * r.seq_len), r.megabytes(model, acts),
                 r.config.subject.devices, read=SCALED * scaled * r.seq_len, kept=2 * scaled * ROW)] if scaled else []),
    ]  # fmt: skip
