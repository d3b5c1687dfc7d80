from neuron_descriptions.atlas.building import write_given_scores
from neuron_descriptions.common.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    write_given_scores(snakemake.input.scores, snakemake.output.scores)
