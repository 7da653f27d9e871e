"""A release as text and as data: what will be built, and what came of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional

from ..errors import printable
from .colour import paint

if TYPE_CHECKING:
    from ..releasing.plan import Job
    from ..releasing.prepare import ReleasePlan
    from ..releasing.run import Row, Summary

VERSION = 1


def plan_data(plan: ReleasePlan) -> dict[str, Any]:
    """What ``build --list --json`` prints."""
    return {
        "version": VERSION,
        "name": plan.project.name,
        "project_version": plan.project.version,
        "requires_python": plan.project.requires,
        "sdist": plan.sdist,
        "jobs": [_job_data(job, plan.existing.get(job.label)) for job in plan.jobs],
        "left_out": list(plan.left_out),
        "notes": list(plan.notes),
    }


def _job_data(job: Job, existing: Optional[str]) -> dict[str, Any]:
    return {
        "label": job.label,
        "python": job.python.name.spoken,
        "python_tag": job.python.name.tag,
        "interpreter": job.python.executable,
        "target": job.target,
        "strategy": job.strategy,
        "tested": job.tested,
        "existing": existing,
        "error": job.obstacle,
    }


def plan_text(plan: ReleasePlan) -> str:
    """What ``build --list`` prints."""
    sdist = {"build": "the sdist, and the wheels from it", "existing": "the sdist is there already"}.get(
        plan.sdist or ""
    )
    lines = [sdist] if sdist else []
    rows = [
        (
            job.python.name.tag,
            job.target or "best that is true",
            job.strategy,
            "tested" if job.tested else "",
            _fate(job, plan.existing.get(job.label)),
        )
        for job in plan.jobs
    ]
    lines += aligned(rows)
    lines += [f"left out: {line}" for line in plan.left_out]
    lines += [f"note: {line}" for line in plan.notes]
    return printable("\n".join(lines))


def _fate(job: Job, existing: Optional[str]) -> str:
    if existing is not None:
        return f"there already: {existing}"
    if job.obstacle is not None:
        return f"cannot be built: {str(job.obstacle['message']).splitlines()[0]}"
    return job.python.executable or "interpreter of the image"


def summary_data(summary: Summary) -> dict[str, Any]:
    """What ``build --json`` prints of a release."""
    return {
        "version": VERSION,
        "ok": summary.exit_code == 0,
        "exit_code": summary.exit_code,
        "sdist": summary.sdist,
        "wheels": list(summary.wheels),
        "jobs": [_row_data(row) for row in summary.rows],
        "left_out": list(summary.left_out),
        "seconds": round(summary.seconds, 2),
        "cpu_seconds": round(summary.cpu_seconds, 2),
        "log_dir": summary.log_dir,
    }


def _row_data(row: Row) -> dict[str, Any]:
    return {
        "label": row.label,
        "python": row.python,
        "target": row.target,
        "status": row.status,
        "wheel": row.wheel,
        "shared_with": row.shared_with,
        "seconds": round(row.seconds, 2),
        "cpu_seconds": round(row.cpu_seconds, 2),
        "test": dict(row.test),
        "error": row.error,
        "log": row.log,
    }


def summary_text(summary: Summary, colour: bool = False) -> str:
    """The table at the end: what became of each job. Those that failed are red."""
    head = ("wheel", "target", "python", "status", "seconds", "tested", "log")
    rows = [
        (
            row.wheel or "—",
            row.target or "best",
            row.python,
            row.status if row.shared_with is None else f"{row.status} with {row.shared_with}",
            f"{row.seconds:.1f}" if row.seconds else "—",
            _tested(row.test),
            (row.log or "—").rpartition("/")[2],
        )
        for row in summary.rows
    ]
    lines = [printable(line) for line in aligned([head, *rows])]
    lines = [
        lines[0],
        *(paint(line, "red", colour and row.error is not None) for line, row in zip(lines[1:], summary.rows)),
    ]
    if summary.log_dir is not None:
        lines.append(printable(f"logs: {summary.log_dir}"))
    good = sum(row.error is None for row in summary.rows)
    said = f"{good} of {len(summary.rows)} good, {len(summary.wheels)} wheels, {summary.seconds:.0f} s"
    return "\n".join([*lines, paint(said, "green" if good == len(summary.rows) else "red", colour)])


def _tested(test: Mapping[str, str]) -> str:
    if test["status"] == "none":
        return "no"
    return f"{test['status']}: {test['detail']}" if test["detail"] else test["status"]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with columns below one another."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]
