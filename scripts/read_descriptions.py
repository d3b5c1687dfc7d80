from neuron_descriptions.given import write_given
from neuron_descriptions.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    write_given(snakemake.params.given, snakemake.params.source, snakemake.output.descriptions)
