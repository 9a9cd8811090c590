"""How the models of an audit are trained: in processes here or on a cluster, on which device, and until when."""

from __future__ import annotations

from dataclasses import dataclass, replace

from miaudit.errors import PlanError
from miaudit.plan import EnginePlan
from miaudit.recipes import Recipe, device_name, placed
from miaudit.threads import usable_cores


@dataclass(frozen=True)
class Workers:
    """What trains: ``count`` processes here, or those of the cluster.

    ``shared`` says that ``count`` is one for each core, because nobody said how many. ``deadline`` is by
    `time.monotonic`; ``cluster`` is the address of a Dask scheduler.
    """

    count: int
    deadline: float | None
    device: str
    shared: bool = False
    cluster: str | None = None

    def take(self, recipe: Recipe, dtype: str | None) -> tuple[Workers, Recipe]:
        """Return the workers, and the recipe with models trained on their device in a type of numbers.

        One process feeds a GPU: several would only share it out.
        """
        recipe = placed(recipe, device=self.device, dtype=dtype, here=self.cluster is None)
        on_gpu = device_name(recipe) == "cuda"
        count = 1 if on_gpu and self.shared else self.count
        return replace(self, count=count, device="cuda" if on_gpu else "cpu"), recipe


def workers_of(
    plan: EnginePlan,
    *,
    start: float,
    jobs: int | None = None,
    address: str | None = None,
    device: str | None = None,
    time_limit: float | None = None,
) -> Workers:
    """Return what a call asks for, or else the plan.

    Parameters
    ----------
    plan
        The plan's section ``[engine]``.
    start
        When the audit began, by `time.monotonic`.
    jobs, address, device, time_limit
        As of `miaudit.audit`.

    Raises
    ------
    PlanError
        If both processes here and a cluster are asked for, or a cluster without its address.
    """
    device = device or plan.device
    time_limit = time_limit or plan.time_limit
    deadline = None if time_limit is None else start + time_limit
    if jobs is not None and address is not None:
        raise PlanError(f"jobs={jobs} trains on this machine and address={address!r} on a cluster: give one of them")
    if address is None and jobs is None and plan.kind == "dask":
        address = plan.address
        if address is None:
            raise PlanError([("engine.address", "missing: the address of the Dask scheduler, here or by --address")])
    if address is None:
        jobs = jobs if jobs is not None else plan.jobs
        return Workers(_processes(jobs), deadline, device, shared=jobs is None)
    from miaudit.shadows.dask import cluster_size

    return Workers(cluster_size(address), deadline, device, cluster=address)


def _processes(jobs: int | None) -> int:
    if jobs is None:
        return usable_cores()
    if jobs < 0:
        raise PlanError(f"jobs must be 0 (train in this process) or more, got {jobs}")
    return jobs
