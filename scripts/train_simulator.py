from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.training import Training
from neuron_descriptions.training.fine_tuning import Checkpoints
from neuron_descriptions.training.material import Taught
from neuron_descriptions.training.simulator import train_simulator

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    train_simulator(
        folder=given.base,
        lessons=Taught(
            exemplars=list(given.exemplars),
            corpus={split: given[split] for split in ("train", "valid")},
            rules=given.rules,
            descriptions=list(given.descriptions),
        ),
        settings=restored(Training, wanted.settings, base=wanted.about["base"]),
        about=wanted.about,
        seed=wanted.seed,
        threads=snakemake.threads,
        checkpoints=Checkpoints(wanted.checkpoints, wanted.code),
        output=snakemake.output.simulator,
    )
