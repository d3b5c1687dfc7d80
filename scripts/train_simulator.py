from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.training import Training
from neuron_descriptions.training.simulator import train_simulator

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    settings = restored(Training, wanted.settings, base=wanted.about["base"])
    train_simulator(
        folder=given.base,
        exemplars=list(given.exemplars),
        descriptions=list(given.descriptions),
        corpus={split: given[split] for split in ("train", "valid")},
        rules=given.rules,
        settings=settings.model_dump(exclude={"base", "rules", "devices"}),
        about=wanted.about,
        seed=wanted.seed,
        threads=snakemake.threads,
        code=wanted.code,
        checkpoints=wanted.checkpoints,
        output=snakemake.output.simulator,
    )
