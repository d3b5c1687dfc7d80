from neuron_descriptions.common.logs import job_log
from neuron_descriptions.common.vocabulary import SPLITS
from neuron_descriptions.corpus.building import Cut, Mixture
from neuron_descriptions.panel.texts import build_panel

with job_log(snakemake.log[0], snakemake.rule):
    mixture = Mixture(
        documents=dict(zip(snakemake.params.ratios, snakemake.input.documents)),
        ratios=snakemake.params.ratios,
        model_folder=snakemake.input.model,
        cut=Cut(**snakemake.params.cut),
        seed=snakemake.params.seed,
    )
    corpora = [snakemake.input[split] for split in SPLITS]
    build_panel(mixture, corpora, snakemake.params.tokens, dict(snakemake.output.items()), snakemake.threads)
