from neuron_descriptions.atlas.rechecking import Describing, Scoring, recheck_rows
from neuron_descriptions.common.logs import job_log
from neuron_descriptions.harvest.subject import Subject

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    recheck_rows(
        neurons=wanted.neurons,
        tables={layer: {name: given[f"{name}_{layer}"] for name in wanted.names} for layer in wanted.neurons},
        atlas=given.atlas,
        subject=Subject.of_job(given.subject, wanted, given.dictionaries),
        describing=Describing.of_job(given, wanted.describing),
        scoring=Scoring.of_job(given, wanted.scoring, snakemake.threads),
        about=wanted.about,
        outputs={name: snakemake.output[name] for name in ("json", "text")},
    )
