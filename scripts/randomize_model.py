from neuron_descriptions.logs import job_log
from neuron_descriptions.random_models import write_random_model

with job_log(snakemake.log[0], snakemake.rule):
    write_random_model(
        base=snakemake.input.base,
        seed=snakemake.params.seed,
        output=snakemake.output.model,
    )
