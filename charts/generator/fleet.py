"""Dashboard *ArcFace Fleet*: all jobs, what they hold, what they reached, and the operator."""

from panels import Panel, choice, curves, dashboard, limits, number, row, table, target

JOBS = 'namespace=~"$namespace"'
RATE = "[$__rate_interval]"


def quantile(share: float) -> str:
    """Of the time of one look at a job."""
    return f"histogram_quantile({share}, sum by (le) (rate(arcface_operator_reconcile_seconds_bucket{RATE})))"


def build() -> Panel:
    """The dashboard."""
    namespace = choice("namespace", "Namespace", "label_values(arcface_job_phase, namespace)", takes_all=True)
    rows = [
        row("Jobs", 8, *jobs()),
        row("How long they wait", 8, *waiting()),
        row("What they reached", 9, *results()),
        row("Operator", 8, *operator()),
    ]
    return dashboard("arcface-fleet", "ArcFace Fleet", [namespace], rows, [])


def jobs() -> list[Panel]:
    """Counts."""
    return [
        curves(
            "Jobs by phase",
            "",
            "none",
            target(f"sum by (phase) (arcface_job_phase{{{JOBS}}}) > 0", "{{phase}}"),
            min=0,
            decimals=0,
        ),
        curves(
            "Devices held",
            "Devices of pods that are ready; with CPU jobs a device is a rank.",
            "none",
            target(f"sum by (accelerator) (arcface_job_devices{{{JOBS}}})", "{{accelerator}}"),
            min=0,
            decimals=0,
        ),
        curves(
            "Images a second by job",
            "",
            "none",
            target(
                f"sum by (namespace, arcface_io_job) (rate(arcface_train_images_total{{{JOBS}}}{RATE}))",
                "{{namespace}}/{{arcface_io_job}}",
            ),
            min=0,
        ),
    ]


def waiting() -> list[Panel]:
    """Until a job trains, and again after faults."""
    queue, startup = f"arcface_job_queue_seconds{{{JOBS}}}", f"arcface_job_startup_seconds{{{JOBS}}}"
    return [
        curves(
            "Queue time of the jobs that are there",
            "From the first look at a job to all its pods running: storage, scheduler, image.",
            "s",
            target(f"quantile(0.5, {queue})", "median"),
            target(f"max({queue})", "longest"),
            min=0,
        ),
        curves(
            "Start-up time of the jobs that are there",
            "From the first look at a job to its first step: the queue, the rank table, joining and compiling.",
            "s",
            target(f"quantile(0.5, {startup})", "median"),
            target(f"max({startup})", "longest"),
            min=0,
        ),
        curves(
            "Restarts",
            "Of all gangs, for any reason.",
            "none",
            target(f"sum by (namespace, name) (arcface_job_restarts_total{{{JOBS}}})", "{{namespace}}/{{name}}"),
            min=0,
            decimals=0,
        ),
    ]


def results() -> list[Panel]:
    """Evaluations and failures."""
    best = f"max by (name, dataset) (arcface_job_evaluation_accuracy{{{JOBS}}})"
    return [
        table(
            "Leaderboard",
            "Accuracy of the jobs' evaluations by set.",
            "percentunit",
            target(f"sort_desc({best})"),
            row="name",
            column="dataset",
        ),
        number(
            "Failed jobs by reason",
            "Jobs that are still there.",
            "none",
            target(f"sum by (reason) (arcface_job_failed{{{JOBS}}}) or vector(0)", "{{reason}}"),
            **limits((None, "green"), (1, "red")),
        ),
    ]


def operator() -> list[Panel]:
    """Whether the operator does its work."""
    return [
        number(
            "Leaders",
            "Replicas that act: one.",
            "none",
            target("sum(arcface_operator_is_leader)"),
            **limits((None, "red"), (1, "green"), (2, "red")),
        ),
        curves(
            "Time of one look at a job",
            "",
            "s",
            target(quantile(0.5), "p50"),
            target(quantile(0.99), "p99"),
            min=0,
        ),
        curves(
            "Looks and failed looks a second",
            "A look that fails is taken again; the operator's log tells why.",
            "none",
            target(f"sum(rate(arcface_operator_reconcile_seconds_count{RATE}))", "looks"),
            target(f"sum(rate(arcface_operator_reconcile_errors_total{RATE}))", "failed"),
            min=0,
        ),
    ]
