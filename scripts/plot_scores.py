from neuron_descriptions.atlas.plots import plot_scores
from neuron_descriptions.common.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    plot_scores(snakemake.input.atlas, snakemake.input.accounts, snakemake.output.plot)
