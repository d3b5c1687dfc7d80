from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.training import DictionaryTraining
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.training.dictionary import PLACES, train_dictionaries

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    train_dictionaries(
        subject=Subject(given.model, **wanted.subject),
        name=wanted.name,
        corpus={split: given[split] for split in ("train", "test")},
        settings=restored(DictionaryTraining, wanted.settings),
        seed=wanted.seed,
        threads=snakemake.threads,
        outputs={kind: snakemake.output[kind] for kind in PLACES},
    )
