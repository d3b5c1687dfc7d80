from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.training import Distillation
from neuron_descriptions.training.distilling import distil_simulator
from neuron_descriptions.training.fine_tuning import Checkpoints

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    distil_simulator(
        folder=given.base,
        taught={name: given[name] for name in ("lessons", "subject", "train", "valid", "rules")}
        | {"exemplars": list(given.exemplars)},
        settings=restored(Distillation, wanted.settings, base=wanted.about["base"]),
        about=wanted.about,
        seed=wanted.seed,
        threads=snakemake.threads,
        checkpoints=Checkpoints(wanted.checkpoints, wanted.code),
        output=snakemake.output.simulator,
    )
