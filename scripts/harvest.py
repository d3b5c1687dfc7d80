from neuron_descriptions.common.logs import job_log
from neuron_descriptions.harvest.shard import Shard, harvest
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.run.memory import Keep

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    harvest(
        subject=Subject.of_job(given.model, wanted, given.dictionaries),
        corpus=given.corpus,
        shard=Shard(
            split=snakemake.wildcards.split,
            number=int(snakemake.wildcards.shard),
            of=wanted.shards,
            batch_size=wanted.settings["batch_size"],
            seed=wanted.seed,
        ),
        neurons=wanted.neurons,
        keep=Keep(**wanted.settings["keep"]),
        threads=snakemake.threads,
        output=snakemake.output.state,
    )
