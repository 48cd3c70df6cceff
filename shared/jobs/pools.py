"""Pools: groups of workers, by hardware or region. Each pool has queues of its own.

A worker is in one pool (``FACEMEND_POOL``). A model may name the pools that serve it
(``FACEMEND_MODEL_POOLS``), and a tenant may be pinned to a pool (``facemend tenants pin``). Without
any of these, all is in the pool ``default``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from shared.errors import InvalidRequest

DEFAULT_POOL = "default"


@dataclass(frozen=True, slots=True, order=True)
class ModelInPool:
    """A model in a pool. Its name is ``model@pool``, in the default pool ``model`` alone.

    So queues of the default pool have the names of versions without pools. ``in_pool`` in
    ``shared/lua/includes/common.lua`` makes the same names.
    """

    model: str
    pool: str = DEFAULT_POOL

    def __str__(self) -> str:
        return self.model if self.pool == DEFAULT_POOL else f"{self.model}@{self.pool}"

    @classmethod
    def parse(cls, name: str) -> ModelInPool:
        model, _, pool = name.partition("@")
        return cls(model, pool or DEFAULT_POOL)


@dataclass(frozen=True, slots=True)
class Pools:
    """The pools that models name, in the order of preference."""

    by_model: Mapping[str, Sequence[str]]

    def choose(
        self,
        model: str,
        pin: str | None,
        live: Callable[[Sequence[ModelInPool]], Sequence[ModelInPool]],
    ) -> str:
        """Return the pool for a job: the ``pin`` of its tenant, else one of the model's pools.

        That is the first one in which ``live`` (called only if there is a choice) finds the model,
        and the first of all if it finds none.
        """
        named = self.by_model.get(model, (DEFAULT_POOL,))
        if pin is not None:
            return pin
        if len(named) == 1:
            return named[0]
        found = live([ModelInPool(model, pool) for pool in named])
        return found[0].pool if found else named[0]

    def check(self, model: str, pool: str) -> None:
        """Raises InvalidRequest if the model names its pools, and ``pool`` is not one of them."""
        named = self.by_model.get(model)
        if named is not None and pool not in named:
            reason = (
                f"the pool {pool}, to which this tenant is pinned, does not serve {model}; it is"
                f" served by {', '.join(named)}"
            )
            raise InvalidRequest("1 field is not valid.", [("/model", reason)])


def stored_pool(pool: str) -> str | None:
    """Return a pool as scripts and records have it: None for the default pool."""
    return None if pool == DEFAULT_POOL else pool
