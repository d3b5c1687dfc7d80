# What the run takes: printed before anything starts, and kept beside the results.


localrules:
    plan,


rule plan:
    output:
        plan="<results>/plan.txt",
    log:
        "<logs>/plan.log",
    benchmark:
        "<benchmarks>/plan.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plan"),
        runtime=minutes("plan"),
    params:
        code=digest("plan.py"),
        text=PLAN.text(),
    message:
        "Planning"
    script:
        "../scripts/plan.py"
