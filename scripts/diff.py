from neuron_descriptions.common.logs import job_log
from neuron_descriptions.differences.comparing import Read, compare_panels

with job_log(snakemake.log[0], snakemake.rule):
    names, layers = snakemake.params.names, snakemake.params.layers
    compare_panels(
        before=Read(names["before"], snakemake.input.before, dict(zip(layers, snakemake.input.acts_before))),
        after=Read(names["after"], snakemake.input.after, dict(zip(layers, snakemake.input.acts_after))),
        subject=snakemake.input.subject,
        listed=snakemake.params.listed,
        describing=snakemake.params.describing,
        outputs=dict(snakemake.output.items()),
    )
