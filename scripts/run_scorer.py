from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scorers import Scorer
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.scores.opening import Job, run_scorer

wanted, wildcards = snakemake.params, snakemake.wildcards
with job_log(snakemake.log[0], snakemake.rule):
    judge = {"judge": {**wanted.section["judge"], **wanted.access}} if "judge" in wanted.section else {}
    job = Job(
        name=wildcards.scorer,
        section=restored(Scorer, {**wanted.section, **judge}),
        numbers=restored(Scores, wanted.numbers, simulator=None),
        neurons=wanted.neurons,
        layer=int(wildcards.layer),
        inputs=dict(snakemake.input.items()),
        requests=wanted.requests,
        part=f"scorers/{wildcards.scorer}/layer-{wildcards.layer}/{wildcards.part}",
        code=wanted.code,
        seed=wanted.seed,
        threads=snakemake.threads,
    )
    run_scorer(job, snakemake.output.scores)
