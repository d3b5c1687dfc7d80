from neuron_descriptions.common.logs import job_log
from neuron_descriptions.descriptions.asking import describe

with job_log(snakemake.log[0], snakemake.rule):
    describe(
        neurons=snakemake.params.neurons,
        layer=int(snakemake.wildcards.layer),
        part=snakemake.wildcards.part,
        inputs=dict(snakemake.input.items()),
        explainer=snakemake.params.explainer,
        settings=snakemake.params.settings,
        access=snakemake.params.access,
        code=snakemake.params.code,
        seed=snakemake.params.seed,
        threads=snakemake.threads,
        output=snakemake.output.descriptions,
        accounting=snakemake.output.accounting,
    )
