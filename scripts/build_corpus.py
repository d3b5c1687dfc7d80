from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.corpus import Corpus
from neuron_descriptions.corpus.building import Cut, Mixture, build_corpus

with job_log(snakemake.log[0], snakemake.rule):
    corpus = restored(Corpus, snakemake.params.settings)
    mixture = Mixture(
        documents=dict(zip(corpus.sources, snakemake.input.documents)),
        ratios={name: source.ratio for name, source in corpus.sources.items()},
        model_folder=snakemake.input.model,
        cut=Cut(corpus.seq_len, corpus.chat_prefix, corpus.windows_per_document),
        seed=snakemake.params.seed,
    )
    build_corpus(mixture, corpus.sequences.model_dump(), dict(snakemake.output.items()), snakemake.threads)
