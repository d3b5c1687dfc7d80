from neuron_descriptions.common.logs import job_log
from neuron_descriptions.panel.harvesting import harvest_of_job

with job_log(snakemake.log[0], snakemake.rule):
    harvest_of_job(snakemake.input, snakemake.params, snakemake.threads, snakemake.output.acts)
