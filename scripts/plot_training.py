from neuron_descriptions.logs import job_log
from neuron_descriptions.plots import plot_training

with job_log(snakemake.log[0], snakemake.rule):
    plot_training(simulator=snakemake.input.simulator, output=snakemake.output.plot)
