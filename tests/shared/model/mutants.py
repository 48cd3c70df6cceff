"""Nine mistakes that lose, double or corrupt jobs in real systems, each as a small change.

A story machine that does not find every one of them proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.shared.model.caller import Orders
from tests.shared.model.editions import Edit
from tests.shared.model.promises import Promise


@dataclass(frozen=True)
class Mutant:
    """``breaks`` are the promises of which one must be found broken."""

    name: str
    breaks: frozenset[Promise]
    edits: tuple[Edit, ...]
    orders: Orders


def _mutant(
    name: str, *breaks: Promise, edits: tuple[Edit, ...] = (), **orders: tuple[str, ...]
) -> Mutant:
    return Mutant(name, frozenset(breaks), edits, Orders(**orders))


_POST = """-- Arguments:
--   id: text
local job = load_job(id)
deliver_event(job, job_spec(job).webhook, job.status, now())
"""
_COUNT = "redis.call('HINCRBY', key('job', id), 'attempt', 1)\n"

MUTANTS = (
    _mutant(
        "no dispatcher",
        Promise.SOON,
        edits=(Edit("due", "\nreturn due\n", "\nreturn {}\n"),),
    ),
    _mutant(
        "no reaper",
        Promise.SOON,
        edits=(Edit("reap", "due_ids(key('leases'), at, limit)", "{}"),),
    ),
    _mutant(
        "no token check",
        Promise.FENCED,
        edits=(
            Edit("prelude", " and job.token == token then return job end", " then return job end"),
            Edit("finish", "if not job or job.token ~= token then", "if not job then"),
        ),
    ),
    _mutant(
        "claim without state check",
        Promise.ALONE,
        Promise.STAYS,
        edits=(
            Edit("claim", "local job = startable(name)", "local job = load_job(rung.id)"),
            Edit("states", "if not NEXT_STATES[job.status][to] then", "if false then"),
        ),
    ),
    _mutant(
        "attempt counted at the end",
        Promise.COUNTED,
        Promise.CAPPED,
        edits=(
            Edit("claim", "'attempt', job.attempt + 1, 'starts', job.starts + 1, ", ""),
            Edit("finish", "\nend_job(job, ", f"\n{_COUNT}end_job(job, "),
            Edit("release", "\nreturn ", f"\n{_COUNT}job.starts = job.starts + 1\nreturn "),
        ),
    ),
    _mutant(
        "no cap",
        Promise.CAPPED,
        edits=(
            Edit("states", "'spent_' .. reason, 1) > budget", "'spent', 0) < 0"),
            Edit("states", "elseif job.starts >= max_starts then", "elseif false then"),
        ),
    ),
    _mutant(
        "pointer before upload",
        Promise.THERE,
        run=("claim", "fetch", "enter", "restore", "finish", "put", "seal", "break_promise"),
    ),
    _mutant(
        "event in a second step",
        Promise.ANNOUNCED,
        edits=(
            Edit("states", "  deliver_event(job, spec.webhook, status, at)\n", ""),
            Edit("post_event", "", _POST),
        ),
        run=(
            "claim",
            "fetch",
            "enter",
            "restore",
            "put",
            "seal",
            "finish",
            "announce",
            "break_promise",
        ),
    ),
    _mutant(
        "publish before create",
        Promise.KNOWN,
        submission=("reserve", "upload", "manifest", "ring", "create", "answer"),
    ),
)
