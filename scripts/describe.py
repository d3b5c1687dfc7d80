from neuron_descriptions.explaining import describe
from neuron_descriptions.logs import job_log

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
