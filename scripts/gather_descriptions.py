from neuron_descriptions.common.logs import job_log
from neuron_descriptions.descriptions.rivals import gather_candidates

with job_log(snakemake.log[0], snakemake.rule):
    gather_candidates(
        own=snakemake.input.own,
        rivals=dict(zip(snakemake.params.rivals, snakemake.input.rivals)),
        neurons=snakemake.params.neurons,
        output=snakemake.output.descriptions,
    )
