from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scorers import Scorer
from neuron_descriptions.scores.opening import Job, run_scorer

wanted, wildcards = snakemake.params, snakemake.wildcards
with job_log(snakemake.log[0], snakemake.rule):
    job = Job(
        name=wildcards.scorer,
        section=restored(Scorer, wanted.section),
        numbers=wanted.numbers,
        neurons=wanted.neurons,
        layer=int(wildcards.layer),
        inputs=dict(snakemake.input.items()),
        access=wanted.access,
        code=wanted.code,
        seed=wanted.seed,
        threads=snakemake.threads,
    )
    run_scorer(job, snakemake.output.scores)
