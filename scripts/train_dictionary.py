from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.training import DictionaryTraining
from neuron_descriptions.training.dictionary import train_dictionary

with job_log(snakemake.log[0], snakemake.rule):
    train_dictionary(
        folder=snakemake.input.model,
        subject=snakemake.params.subject,
        corpus={split: snakemake.input[split] for split in ("train", "test")},
        kind=snakemake.wildcards.trained,
        settings=restored(DictionaryTraining, snakemake.params.settings),
        seed=snakemake.params.seed,
        threads=snakemake.threads,
        output=snakemake.output.dictionary,
    )
