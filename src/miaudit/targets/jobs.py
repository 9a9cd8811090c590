"""Jobs of a server: an answer that says where the answers will be, and looks at a job's state until they are there."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from miaudit.errors import PlanError, TargetError
from miaudit.plan import JobPlan
from miaudit.targets.client import Client, Free
from miaudit.targets.connection import check_url, shown
from miaudit.targets.credentials import ENV, of_no_address
from miaudit.targets.wire.rows import from_bytes

_SHOWN = 300  # bytes of an answer


def check_job(plan: JobPlan) -> list[tuple[str, str]]:
    """Return what is wrong with the addresses of a job: pairs of a key and a sentence."""
    problems = []
    for name in ("status", "result"):
        address = getattr(plan, name)
        if address is None:
            continue
        try:
            check_url(address)
        except PlanError as error:
            problems += error.within(f"job.{name}")
        if "{job}" not in address:
            problems.append((f"job.{name}", f"must hold {{job}} where the job goes; got {of_no_address(address)!r}"))
    return problems


def awaited(client: Client, content: bytes, plan: JobPlan, url: str) -> bytes:
    """Return the answer to a request that was answered with a job, when the job is done.

    Raises
    ------
    TargetError
        If the job fails, is not done in time, or lies on another server than the requests go to.
    """
    job = client.read(content, lambda answer: at(from_bytes(answer), plan.id, url))
    address = _address(plan.status, job, url)
    end = time.monotonic() + plan.wait
    success, failure = ({state.lower() for state in states} for states in (plan.done, plan.failed))
    while True:
        content = client.get(Free(), address)
        state = client.read(content, lambda answer: at(from_bytes(answer), plan.state, url))
        if state.lower() in failure:
            text = content[:_SHOWN].decode(errors="replace")
            raise TargetError(f"the job of a request is {client.redacted(state)}: {client.redacted(text)}")
        if state.lower() in success:
            return content if plan.result is None else client.get(Free(), with_job(plan.result, quote(job, safe="")))
        if time.monotonic() + plan.every > end:
            raise TargetError(
                f"a job is still {client.redacted(state)!r} after wait = {plan.wait:g} s; give it longer, or say in job.done "
                f"which state means that the answers are there (now: {', '.join(plan.done)})"
            )
        time.sleep(plan.every)


def _address(status: str | None, job: str, url: str) -> str:
    """Return the address of a job's state: that of the plan, or the job itself, on the server that is asked."""
    if status is not None:
        return with_job(status, quote(job, safe=""))
    address = urljoin(url, job)
    refuse_variables(address, url)
    if urlsplit(address)[:2] != urlsplit(url)[:2]:
        raise TargetError(
            f"the server says that its job is at {shown(address)}, another server, to which credentials are not sent "
            "unasked; if that is right, give job.status"
        )
    return address


def with_job(address: str, job: str) -> str:
    """Return the address of a job; one into which the server put an environment variable is refused."""
    url = address.replace("{job}", job)
    refuse_variables(url, address)
    return url


def refuse_variables(url: str, address: str) -> None:
    """Refuse an address into which the service's answer has put an environment variable: it would be sent there."""
    if names := set(ENV.findall(url)) - set(ENV.findall(address)):
        raise TargetError(
            f"the service at {shown(address)} asks for the environment variable {', '.join(sorted(names))} in the address of a "
            "job or model; it is not sent"
        )


def at(answer: Any, path: str, url: str) -> str:
    """Return what stands at a path with dots in an answer, as a text.

    Raises
    ------
    TargetError
        If nothing does.
    """
    value = answer
    for step in path.split("."):
        if not isinstance(value, dict) or step not in value:
            raise TargetError(f"{shown(url)} answers without {path!r}: {json.dumps(answer)[:200]}")
        value = value[step]
    return str(value)
