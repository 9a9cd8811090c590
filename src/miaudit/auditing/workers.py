"""How the models of an audit are trained: in processes here or on a cluster, on which device, and until when."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

from miaudit.documents import whole
from miaudit.errors import PlanError
from miaudit.plan import EnginePlan
from miaudit.recipes import Recipe, device_name, placed
from miaudit.threads import is_device, usable_cores


@dataclass(frozen=True)
class Workers:
    """What trains: ``count`` processes here, or those of the ``cluster``, the address of a Dask scheduler.

    ``deadline`` is by `time.monotonic`; ``here`` is how many processes of this machine may run attacks.
    """

    count: int
    cluster: str | None
    deadline: float | None
    here: int = 0

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `miaudit.shadows.engine.run_jobs`."""
        return {"workers": self.count, "cluster": self.cluster, "deadline": self.deadline}


@dataclass(frozen=True)
class Engine:
    """How the work is done, as a call asks for it; what it leaves open is as the plan's section ``[engine]`` says.

    Parameters
    ----------
    jobs
        Processes that train and run attacks; default: one per core; 0: this one alone.
    address
        Of a Dask scheduler, whose workers train instead.
    device
        Where networks train: "cpu", "cuda" (an NVIDIA GPU; "cuda:1": the second) or "auto" (the GPU, if there is one); default:
        the plan's, or "cpu". Models trained on a GPU have rows of their own.
    dtype
        "float32" or "bfloat16", the type of a network's products while it trains; default: the recipe's. It makes other
        models, and is part of the recipe.
    time_limit
        Seconds after which the work stops with an error, keeping what was trained.
    """

    jobs: int | None = None
    address: str | None = None
    device: str | None = None
    dtype: str | None = None
    time_limit: float | None = None

    def __post_init__(self) -> None:
        jobs = self.jobs
        limit: Any = self.time_limit
        if jobs is not None:
            whole(jobs, "jobs", least=0)
        number = isinstance(limit, Real) and not isinstance(limit, bool)  # an array has no truth
        if limit is not None and not (number and limit > 0):
            raise PlanError(f"time_limit must be a number of seconds above 0, got {limit!r}")
        if self.device is not None and not is_device(self.device, auto=True):
            raise PlanError([("device", f"got {self.device!r}; allowed: cpu, cuda, cuda:1 and the like, or auto")])
        if self.address is not None and not isinstance(self.address, str):
            raise PlanError([("address", f"must be a text, that of a Dask scheduler; got {self.address!r:.80}")])
        if jobs is not None and self.address is not None:
            raise PlanError(
                f"jobs={jobs} trains on this machine and address={self.address!r} on a cluster: give one of them"
            )

    def start(self, plan: EnginePlan, recipe: Recipe, *, began: float | None = None) -> tuple[Workers, Recipe]:
        """Return what trains, and the recipe with models trained on its device in its type of numbers.

        One process feeds a GPU unless ``jobs`` says otherwise: what a second gains that trains while the first asks is unknown.

        Parameters
        ----------
        plan
            The plan's section ``[engine]``.
        recipe
            How one model is trained.
        began
            When the time limit began to run, by `time.monotonic`; default: now.

        Raises
        ------
        PlanError
            If a cluster is asked for without its address, or the device is not there.
        PoolError
            If the cluster cannot be reached.
        """
        began, limit = time.monotonic() if began is None else began, self.time_limit or plan.time_limit
        deadline, cluster = None if limit is None else began + limit, self._cluster(plan)
        recipe = placed(recipe, device=self.device or plan.device, dtype=self.dtype, here=cluster is None)
        jobs = plan.jobs if self.jobs is None else self.jobs
        count = self.reach(plan)
        if count is None:
            count = jobs if jobs is not None else 1 if device_name(recipe) != "cpu" else usable_cores()
        self.load_early(plan, recipe)  # unless reading the case has begun it
        return Workers(count, cluster, deadline, usable_cores() if jobs is None else jobs), recipe

    def reach(self, plan: EnginePlan) -> int | None:
        """Return how many workers the cluster has that is asked for; None where none is.

        Raises
        ------
        PlanError, PoolError
            As of `start`.
        """
        cluster = self._cluster(plan)
        if cluster is None:
            return None
        from miaudit.shadows.dask import cluster_size

        return cluster_size(cluster)

    def load_early(self, plan: EnginePlan, recipe: Any) -> None:
        """Begin to load what the training of a recipe imports, where processes of this machine will train; return at once."""
        from miaudit.shadows import fork_server

        jobs = plan.jobs if self.jobs is None else self.jobs
        if self._cluster(plan) is None and jobs != 0:
            fork_server.load_early(fork_server.modules_of(recipe))

    def _cluster(self, plan: EnginePlan) -> str | None:
        if self.address is not None or self.jobs is not None or plan.kind != "dask":
            return self.address
        if plan.address is None:
            raise PlanError([("engine.address", "missing: the address of the Dask scheduler, here or by --address")])
        return plan.address


def taken(options: Mapping[str, Any], *kinds: type[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return a value of each kind, a frozen dataclass, made of those keywords that are its fields; and the others."""
    names = [{field.name for field in fields(kind)} & {*options} for kind in kinds]
    values = [kind(**{key: options[key] for key in own}) for kind, own in zip(kinds, names, strict=True)]
    return values, {key: value for key, value in options.items() if not any(key in own for own in names)}
