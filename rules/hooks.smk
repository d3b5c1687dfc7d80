# What happens before the first job and after the last one. No rules.
import threading
import time
from collections import Counter

from neuron_descriptions.atlas.outcome import outcome
from neuron_descriptions.run.plans import time_left

STARTED = time.monotonic()
# What makes what runs share.
EVIDENCE_RULES = {
    "build_corpus",
    "merge_exemplars",
    "import_exemplars",
    "build_panel",
    "harvest_panel",
    "type_neurons",
}
EVERY = 60  # seconds between lines that say how far the run is


def stop_above_a_ceiling():
    """Raises WorkflowError where the jobs about to start would pass a ceiling of the config."""
    jobs = Counter(job.rule.name for job in workflow.dag.needrun_jobs())
    if passed := PLAN.passed(jobs):
        raise WorkflowError(
            "nothing was started, since it would pass a ceiling of the configuration (see `make plan`):\n"
            + "\n".join(passed)
        )


def spare_the_evidence_of_other_runs():
    """Raises WorkflowError where another run's corpus or exemplars would be made anew, with other settings."""
    if CFG.evidence in (None, CFG.run):
        return
    for job in workflow.dag.needrun_jobs():
        if job.rule.name in EVIDENCE_RULES:
            if made := [path for path in job.output if Path(path).exists()]:
                raise WorkflowError(
                    f"evidence: {made[0]} was made with other settings or code than this run's; make the settings"
                    f" agree, bring the run {CFG.evidence} up to date, or leave `evidence` out"
                )


def spare_the_run_that_is_rechecked():
    """Raises WorkflowError where a recheck would first make anew what it is to check."""
    jobs = {job.rule.name for job in workflow.dag.needrun_jobs()}
    mine = {"recheck_rows", "recheck"}
    if jobs & mine and jobs - mine:
        raise WorkflowError(
            f"recheck: {', '.join(sorted(jobs - mine))} would run first: the run {CFG.run} is not finished, or not up to"
            " date with this configuration and code. Finish it without a target, or check the files as they are:"
            f" snakemake recheck --allowed-rules {' '.join(sorted(mine))}"
        )


def check_what_would_run():
    """Raises WorkflowError where nothing should start."""
    stop_above_a_ceiling()
    spare_the_evidence_of_other_runs()
    spare_the_run_that_is_rechecked()


def spare_what_runs_share(only_temp=False, dryrun=False):
    """Instead of --delete-all-output and --delete-temp-output, which take whatever the rules could make anew."""
    evidence = CFG.evidence if CFG.evidence != CFG.run else None
    if only_temp and not evidence:
        return delete_output(only_temp=only_temp, dryrun=dryrun)
    theirs = f" and results/{evidence} (of the run {evidence})" if evidence else ""
    raise WorkflowError(
        "nothing was deleted, since that would take files of resources (models and texts that all runs share)"
        f"{theirs} too; to delete this run alone, delete its folder: rm -r results/{CFG.run}"
    )


# However it is asked for: on the command line, in a profile, through Snakemake's API.
delete_output = workflow.delete_output
workflow.delete_output = spare_what_runs_share


def record_what_outlived_a_killed_run():
    """Jobs on a cluster finish after the main process is killed, but only that process records what files were made
    with; and a file without such a record is never found stale. So: record it, as of this configuration.
    """
    for job in workflow.dag.jobs:
        made = job.output and all(Path(path).exists() for path in job.output)
        if made and not workflow.dag.needrun(job):
            if not workflow.persistence.has_metadata(job):
                workflow.async_run(workflow.persistence.finished(job))


def say_how_far_it_is():
    """Now and then, beside the jobs, in the process that starts them."""
    jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_norun]
    wanted = Counter(job.rule.name for job in jobs)
    seconds = dict.fromkeys(wanted, CFG.plan.start_seconds)
    for name in wanted:
        if stage := STAGES.get(name.replace("_given", "")):
            seconds[name] = stage.seconds
    began = time.monotonic()

    def watch():
        told = 0
        while told < len(jobs):
            time.sleep(EVERY)
            done = Counter(job.rule.name for job in jobs if workflow.dag.finished(job))
            if sum(done.values()) > told:
                told = sum(done.values())
                minutes = (time.monotonic() - began) / 60
                print(
                    f"{CFG.run}: {time_left(wanted, done, minutes, seconds)}",
                    file=sys.stderr,
                )

    threading.Thread(target=watch, daemon=True).start()


def say_what_came_out():
    """After a whole run; other targets say nothing."""
    if any(job.rule.name == "all" for job in workflow.dag.jobs):
        minutes_taken = (time.monotonic() - STARTED) / 60
        try:
            said = outcome(f"results/{CFG.run}", minutes_taken)
        # Such as files of another version under --touch: the run itself is no failure.
        except (OSError, ValueError) as error:
            said = f"finished, but the atlas cannot be read back ({error})"
        if said:
            print(f"\n{CFG.run}: {said}", file=sys.stderr)
