from neuron_descriptions.common.logs import job_log
from neuron_descriptions.scores.null_pool import gather_pool

given = snakemake.input
with job_log(snakemake.log[0], snakemake.rule):
    gather_pool(
        tables={name: list(given.get(name)) for name in ("descriptions", "exemplars", "train")},
        neurons=snakemake.params.neurons,
        subject=given.subject,
        output=snakemake.output.pool,
    )
