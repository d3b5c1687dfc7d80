from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.explainers import Explainer
from neuron_descriptions.config.output_side import OutputSide
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.scores.opening import Job
from neuron_descriptions.scores.output_tokens import Judging, judge_output_tokens
from neuron_descriptions.scores.output_tokens_tables import NAME

wanted, wildcards = snakemake.params, snakemake.wildcards
with job_log(snakemake.log[0], snakemake.rule):
    settings = restored(OutputSide, wanted.settings)
    judge = restored(Explainer, {**wanted.judge, **wanted.access})
    job = Job(
        name=NAME,
        section=Judging(judge, settings.tokens_per_request, settings.others),
        numbers=restored(Scores, wanted.numbers, simulator=None),
        neurons=wanted.neurons,
        layer=int(wildcards.layer),
        inputs=dict(snakemake.input.items()),
        requests=wanted.requests,
        part=f"output_tokens/layer-{wildcards.layer}/{wildcards.part}",
        code=wanted.code,
        seed=wanted.seed,
        threads=snakemake.threads,
    )
    judge_output_tokens(job, snakemake.output.judged)
