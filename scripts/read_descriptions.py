from neuron_descriptions.common.logs import job_log
from neuron_descriptions.descriptions.given import write_given

with job_log(snakemake.log[0], snakemake.rule):
    write_given(snakemake.params.given, snakemake.params.source, snakemake.output.descriptions)
