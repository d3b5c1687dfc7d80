from neuron_descriptions.fetching import fetch_model
from neuron_descriptions.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    fetch_model(spec=snakemake.params.spec, folder=snakemake.output.model)
