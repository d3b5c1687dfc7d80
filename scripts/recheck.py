from neuron_descriptions.atlas.agreement import pass_or_fail
from neuron_descriptions.common.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    pass_or_fail(snakemake.input.recheck, snakemake.output.passed)
