"""Mistakes that lose, double or corrupt jobs in real systems, each as a small change.

A state machine that does not find every one of them proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.shared.model.caller import StepOrders
from tests.shared.model.guarantees import Guarantee
from tests.shared.model.patched_scripts import Patch


@dataclass(frozen=True)
class Mutant:
    """``breaks``: one of these guarantees must fail."""

    name: str
    breaks: frozenset[Guarantee]
    patches: tuple[Patch, ...]
    step_orders: StepOrders


def _mutant(
    name: str, *breaks: Guarantee, patches: tuple[Patch, ...] = (), **step_orders: tuple[str, ...]
) -> Mutant:
    return Mutant(name, frozenset(breaks), patches, StepOrders(**step_orders))


_POST = """-- Arguments:
--   id: text
local job = load_job(id)
deliver_event(job, job_spec(job).webhook, job.status, now())
"""
_HELD = "if job.content then"
_COUNT = "redis.call('HINCRBY', key('job', id), 'attempt', 1)\n"

MUTANTS = (
    _mutant(
        "no dispatcher",
        Guarantee.SOON,
        patches=(Patch("due_doorbells", "\nreturn due\n", "\nreturn {}\n"),),
    ),
    _mutant(
        "no reaper",
        Guarantee.SOON,
        patches=(Patch("reap_lost_jobs", "due_ids(key('leases'), at, limit)", "{}"),),
    ),
    _mutant(
        "no token check",
        Guarantee.FENCED,
        patches=(
            Patch("common", " and job.token == token then return job end", " then return job end"),
            Patch("finish", "if not job or job.token ~= token then", "if not job then"),
        ),
    ),
    _mutant(
        "claim without state check",
        Guarantee.ALONE,
        Guarantee.STAYS,
        patches=(
            Patch("claim", "local job = startable(name)", "local job = load_job(doorbell.id)"),
            Patch("transitions", "if not NEXT_STATES[job.status][to] then", "if false then"),
        ),
    ),
    _mutant(
        "attempt counted at the end",
        Guarantee.COUNTED,
        Guarantee.CAPPED,
        patches=(
            Patch("claim", "'attempt', job.attempt + 1, 'starts', job.starts + 1, ", ""),
            Patch("finish", "\nend_job(job, ", f"\n{_COUNT}end_job(job, "),
            Patch("release", "\nreturn ", f"\n{_COUNT}job.starts = job.starts + 1\nreturn "),
        ),
    ),
    _mutant(
        "no cap",
        Guarantee.CAPPED,
        patches=(
            Patch("transitions", "'spent_' .. reason, 1) > budget", "'spent', 0) < 0"),
            Patch("transitions", "elseif job.starts >= max_starts then", "elseif false then"),
        ),
    ),
    _mutant(
        "pointer before upload",
        Guarantee.THERE,
        run=("claim", "fetch", "enter", "restore", "finish", "put", "seal", "remove_manifest"),
    ),
    _mutant(
        "event in a second step",
        Guarantee.ANNOUNCED,
        patches=(
            Patch("transitions", "  deliver_event(job, spec.webhook, status, at)\n", ""),
            Patch("post_event", "", _POST),
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
            "remove_manifest",
        ),
    ),
    _mutant(
        "a job that waits is in no queue",
        Guarantee.RECOUNT,
        patches=(Patch("find_equal", "enqueue(job, EQUAL_WAIT_S, 0)\n", ""),),
    ),
    _mutant(
        "jobs that wait are not woken",
        Guarantee.SOON,
        patches=(
            Patch(
                "equal_jobs",
                "if to ~= 'succeeded' and maker_of(job.tenant, job.content) then return end",
                "if true then return end",
            ),
            Patch(
                "due_doorbells", "if job.content and maker_of(job.tenant, job.content) then", _HELD
            ),
        ),
    ),
    _mutant(
        "equal jobs of all tenants share a result",
        Guarantee.EQUAL,
        patches=(
            Patch("find_equal", "key('result', job.tenant, content)", "key('result', content)"),
            Patch("find_equal", "other.tenant == job.tenant and ", ""),
            Patch(
                "equal_jobs",
                "redis.call('SET', key('result', job.tenant, job.content)",
                "redis.call('SET', key('result', job.content)",
            ),
        ),
    ),
    _mutant(
        "publish before create",
        Guarantee.KNOWN,
        submission=("reserve", "upload", "manifest", "ring", "create", "respond"),
    ),
)
