from neuron_descriptions.common.logs import job_log
from neuron_descriptions.differences.comparing import check_tokenizer
from neuron_descriptions.panel.harvesting import harvest_of_job

with job_log(snakemake.log[0], snakemake.rule):
    check_tokenizer(snakemake.input.corpus, snakemake.input.model)
    harvest_of_job(snakemake.input, snakemake.params, snakemake.threads, snakemake.output.acts)
