from neuron_descriptions.common.logs import job_log
from neuron_descriptions.models.fetching import fetch_model

with job_log(snakemake.log[0], snakemake.rule):
    fetch_model(spec=snakemake.params.spec, folder=snakemake.output.model)
