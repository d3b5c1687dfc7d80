from neuron_descriptions.common.logs import job_log
from neuron_descriptions.harvest.passes import Passes
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.panel.harvesting import harvest_panel

with job_log(snakemake.log[0], snakemake.rule):
    harvest_panel(
        subject=Subject.of_job(snakemake.input.model, snakemake.params, snakemake.input.dictionaries),
        corpus=snakemake.input.corpus,
        neurons=snakemake.params.neurons,
        seed=snakemake.params.seed,
        passes=Passes(snakemake.params.batch_size, snakemake.params.layers_per_pass, snakemake.threads),
        outputs=dict(zip(snakemake.params.neurons, snakemake.output.acts)),
    )
