from neuron_descriptions.logs import job_log
from neuron_descriptions.plots import plot_scores

with job_log(snakemake.log[0], snakemake.rule):
    plot_scores(atlas=snakemake.input.atlas, output=snakemake.output.plot)
