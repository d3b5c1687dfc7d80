from neuron_descriptions.common.logs import job_log
from neuron_descriptions.models.untrained import write_random_model

with job_log(snakemake.log[0], snakemake.rule):
    write_random_model(
        base=snakemake.input.base,
        seed=snakemake.params.seed,
        output=snakemake.output.model,
    )
