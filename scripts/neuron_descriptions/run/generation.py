"""Stages of texts that are written from descriptions: asked for, gathered, read by the subject."""

from neuron_descriptions.config.explainers import Endpoint
from neuron_descriptions.config.scorers import Generated
from neuron_descriptions.run.plans import Stage
from neuron_descriptions.run.reckoning import DESCRIPTION, PROMPT, ROW, TABLE, Reckoning

WRITTEN = 25  # tokens of a text
KINDS = 2


def generation_stages(r: Reckoning) -> list[Stage]:
    """Two answers for each description, or one for each of its texts, which the subject reads in one job, all layers at
    once."""
    found = []
    for section in r.config.scores.scorers.values():
        if not isinstance(section, Generated):
            continue
        texts = r.signs * KINDS * section.texts
        writer = section.writer
        # A local model reads the question of a kind once for all its texts.
        times = section.texts if section.alone and isinstance(writer, Endpoint) else 1
        read, generated = r.signs * KINDS * times * (PROMPT + DESCRIPTION), texts * WRITTEN
        prices = writer.prices if isinstance(writer, Endpoint) else None
        remote = isinstance(writer, Endpoint)
        cost = (read * prices.prompt + generated * prices.completion) / 1e6 if prices else 0.0
        asked = (read + generated * r.p.generated_token_cost) / r.chunks
        local = None if isinstance(writer, Endpoint) else writer.model
        answers = r.signs * KINDS * times / r.chunks / r.p.answers_per_second
        seconds = r.p.start_seconds + answers if local is None else r.model_job(local, asked)
        subject, shared = r.config.subject, KINDS * section.texts * (section.others + 2)
        through = texts * (WRITTEN + r.p.prefix)
        # Of each feature: a number of the text and two ends, on its own texts and the shared ones.
        peaks = r.signs / 2 * (shared + 2 * KINDS * section.texts) * 16
        found += [
            Stage("ask_for_texts" if remote else "write_texts", r.chunks, seconds,
                  r.megabytes(local, r.chunk_data / 10),
                  0 if remote else getattr(writer, "devices", 1), read=read, generated=generated,
                  kept=texts * 4 * WRITTEN + 2 * TABLE * r.chunks, endpoint=cost, in_turn=remote),
            Stage("account_texts", 1, r.reading(r.chunks), r.megabytes(None, 0), kept=TABLE + ROW * r.layers),
            Stage("gather_texts", 1, r.reading(texts), r.megabytes(None, texts * 1_000),
                  kept=2 * texts * WRITTEN + 2 * TABLE),
            Stage("run_texts", 1, r.model_job(subject.model, through), r.megabytes(subject.model, 10 * peaks),
                  subject.devices, read=through, kept=peaks + TABLE * r.layers),
        ]  # fmt: skip
    return found
