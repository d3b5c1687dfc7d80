from neuron_descriptions.common.logs import job_log
from neuron_descriptions.run.plans import write_plan

with job_log(snakemake.log[0], snakemake.rule):
    write_plan(snakemake.params.text, snakemake.output.plan)
