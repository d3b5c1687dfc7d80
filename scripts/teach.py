from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.training import Distillation
from neuron_descriptions.simulators.opening import Job
from neuron_descriptions.training.fine_tuning import Checkpoints
from neuron_descriptions.training.material import Taught
from neuron_descriptions.training.teaching import teach

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    settings = restored(Distillation, wanted.settings, base=wanted.base)
    teach(
        Taught(
            exemplars=list(given.exemplars),
            corpus={split: given[split] for split in ("train", "valid")},
            rules=given.rules,
            descriptions=list(given.descriptions),
        ),
        teacher=Job(settings.teacher, given.teacher, given.get("prompt"), given.subject, snakemake.threads),
        settings=settings,
        seed=wanted.seed,
        checkpoints=Checkpoints(wanted.checkpoints, wanted.code),
        output=snakemake.output.lessons,
    )
