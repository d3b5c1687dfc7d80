from neuron_descriptions.common.logs import job_log
from neuron_descriptions.corpus.building import build_corpus

with job_log(snakemake.log[0], snakemake.rule):
    build_corpus(
        sources=snakemake.params.sources,
        documents=dict(zip(snakemake.params.sources, snakemake.input.documents)),
        model_folder=snakemake.input.model,
        **snakemake.params.settings,
        seed=snakemake.params.seed,
        outputs=dict(snakemake.output.items()),
    )
