from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scores import Simulator
from neuron_descriptions.scores.probing import probe

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    probe(
        corpus=given.corpus,
        rules=given.rules,
        models={"subject": given.subject, "simulator": given.simulator, "prompt": given.get("prompt")}
        | {"access": wanted.access},
        simulator=restored(Simulator, wanted.simulator).model_dump(exclude={"prompt"}),
        setting=wanted.setting,
        seed=wanted.seed,
        threads=snakemake.threads,
        output=snakemake.output.probe,
    )
