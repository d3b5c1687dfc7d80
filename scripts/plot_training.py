from neuron_descriptions.atlas.plots import plot_training
from neuron_descriptions.common.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    plot_training(simulator=snakemake.input.simulator, output=snakemake.output.plot)
