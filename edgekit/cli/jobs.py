"""`edgekit jobs`: what measuring on several boards has left to do."""

from __future__ import annotations

import click


@click.group(name="jobs", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List what measuring on several boards has left to do, and take it up again.

    A job is one variant on one board. What is done is gone from here; edgekit report shows it.
    """
    if context.invoked_subcommand is not None:
        return
    from pathlib import Path

    from edgekit.cli.output import table
    from edgekit.reports.words import plain
    from edgekit.store.queue import Queue

    jobs = Queue().jobs()
    if as_json:
        import json
        from dataclasses import asdict

        click.echo(json.dumps([asdict(job) for job in jobs], indent=2))
        return
    if not jobs:
        click.echo("nothing is left to do")
        return
    table(
        ["Job", "State", "Board", "Variant", "Build", "Why"],
        (
            [
                str(job.id),
                job.state,
                plain(job.task.board),
                plain(job.task.variant),
                plain(Path(job.task.build).name),
                plain(job.reason),
            ]
            for job in jobs
        ),
    )
    if any(job.state in ("waiting", "interrupted") for job in jobs):
        click.echo("edgekit jobs resume takes up what is waiting or was interrupted")
    if any(job.state == "failed" for job in jobs):
        click.echo("edgekit jobs resume --failed tries what has failed again, drop ID forgets it")


@command.command(name="resume")
@click.option("--failed", is_flag=True, help="What has failed, too.")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    default=300.0,
    help="For whoever is using a board. [300]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def resume(failed: bool, wait_seconds: float, as_json: bool) -> None:
    """Do what is left, with the settings that it was begun with."""
    from edgekit.cli.fleet import run_jobs
    from edgekit.store.queue import Queue

    jobs = Queue().take(failed=failed)
    if not jobs:
        click.echo("nothing is left to do", err=as_json)
        return
    run_jobs(jobs, wait_seconds, as_json)


@command.command(name="drop")
@click.argument("ids", nargs=-1, required=True, type=int, metavar="ID…")
def drop(ids: tuple[int, ...]) -> None:
    """Forget jobs that nobody is at."""
    from edgekit.store.queue import Queue

    Queue().drop(ids)
