from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.output_side import OutputSide
from neuron_descriptions.output_side.writing import WholeModel, write_output_side

with job_log(snakemake.log[0], snakemake.rule):
    write_output_side(
        subject=WholeModel.of_job(
            snakemake.input.subject, snakemake.params, list(snakemake.params.neurons), snakemake.input.dictionaries
        ),
        neurons=snakemake.params.neurons,
        n_tokens=restored(OutputSide, snakemake.params.settings).tokens,
        threads=snakemake.threads,
        outputs=dict(zip(snakemake.params.neurons, snakemake.output.tables)),
    )
