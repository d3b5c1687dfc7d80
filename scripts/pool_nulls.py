from neuron_descriptions.common.logs import job_log
from neuron_descriptions.scores.chance import gather_pool

with job_log(snakemake.log[0], snakemake.rule):
    gather_pool(snakemake.input.descriptions, snakemake.params.neurons, snakemake.output.pool)
