from neuron_descriptions.explaining import describe
from neuron_descriptions.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    describe(
        neurons=snakemake.params.neurons,
        layer=int(snakemake.wildcards.layer),
        corpus=snakemake.input.corpus,
        exemplars=snakemake.input.exemplars,
        statistics=snakemake.input.statistics,
        subject_folder=snakemake.input.subject,
        explainer_folder=snakemake.input.explainer,
        explainer=snakemake.params.explainer,
        prompt=snakemake.input.prompt,
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
        threads=snakemake.threads,
        output=snakemake.output.descriptions,
    )
