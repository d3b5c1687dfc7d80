from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.corpus import Corpus
from neuron_descriptions.corpus.building import build_corpus

with job_log(snakemake.log[0], snakemake.rule):
    corpus = restored(Corpus, snakemake.params.settings)
    build_corpus(
        sources={name: {"ratio": source.ratio} for name, source in corpus.sources.items()},
        documents=dict(zip(corpus.sources, snakemake.input.documents)),
        model_folder=snakemake.input.model,
        **corpus.model_dump(exclude={"sources"}),
        seed=snakemake.params.seed,
        outputs=dict(snakemake.output.items()),
    )
