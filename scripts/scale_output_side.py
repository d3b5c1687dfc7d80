from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.output_side import OutputSide
from neuron_descriptions.output_side.scaling import scale_output_side
from neuron_descriptions.output_side.writing import WholeModel
from neuron_descriptions.panel.reading import Panel

with job_log(snakemake.log[0], snakemake.rule):
    scale_output_side(
        subject=WholeModel(snakemake.input.subject, **snakemake.params.architecture),
        panel=Panel(snakemake.input.panel, snakemake.input.acts, snakemake.input.subject),
        neurons=snakemake.params.neurons,
        settings=restored(OutputSide, snakemake.params.settings),
        seed=snakemake.params.seed,
        threads=snakemake.threads,
        output=snakemake.output.scaled,
    )
