from neuron_descriptions.atlas import write_given_scores
from neuron_descriptions.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    write_given_scores(snakemake.input.scores, snakemake.output.scores)
