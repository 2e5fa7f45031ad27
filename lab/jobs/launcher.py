"""Runs a job in a pod of its own, stage by stage, with the manager's own permissions."""

import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

from lab.jobs import cache as caching
from lab.jobs import pod as pods
from lab.jobs import scripts, variables
from lab.jobs.manager import Manager
from lab.jobs.model import Job, Result
from lab.jobs.remote import Lost, TimedOut, execute
from lab.jobs.trace import Trace

_POLL_TIMEOUT = 180
_BEHIND = 504
_IMAGE_FAILURES = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
# Bash where there is one, as the runner's own detection does.
_SHELL = "shell=$(command -v bash || echo /bin/sh); exec $shell"


class JobFailed(Exception):
    """The job cannot go on, for one of the reasons that the runner reports."""

    def __init__(self, reason: str, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.reason, self.exit_code = reason, exit_code


class _Pod:
    """A job's pod while it lives."""

    def __init__(self, manager: Manager, job: Job, trace: Trace) -> None:
        self.job, self.trace = job, trace
        self.table: Mapping[str, Any] = manager.runner["kubernetes"]
        self.namespace = manager.job_namespace
        self.core = manager.api()
        self.name = _name(manager, job)
        self.deadline = time.monotonic() + job.timeout_seconds

    def create(self, manager: Manager) -> None:
        job = self.job
        if account := self.table.get("service_account"):
            self.core.read_namespaced_service_account(account, self.namespace)
        known = variables.all_of(manager.runner, job)
        directory = variables.project_directory(manager.runner, job)
        texts = scripts.render(manager.runner, manager.environment, job, known, directory)
        secret = client.V1Secret(
            metadata=client.V1ObjectMeta(name=self.name), string_data=texts, type="Opaque"
        )
        made = self.core.create_namespaced_secret(self.namespace, secret)
        body = pods.manifest(manager.runner, job, known, self.name)
        pod = self.core.create_namespaced_pod(self.namespace, body)
        # Goes with the pod, even where the launcher is killed.
        made.metadata.owner_references = [
            client.V1OwnerReference(
                api_version="v1", kind="Pod", name=self.name, uid=pod.metadata.uid
            )
        ]
        made.data, made.string_data = None, texts
        self.core.replace_namespaced_secret(self.name, self.namespace, made)

    def wait(self) -> None:
        """Wait until every container runs."""
        limit = time.monotonic() + self.table.get("poll_timeout", _POLL_TIMEOUT)
        problems: list[str] = []
        while (left := min(limit, self.deadline) - time.monotonic()) > 0:
            for event in self._events(max(1, int(left))):
                if event["type"] == "DELETED":
                    raise JobFailed("runner_system_failure", "the pod was deleted")
                problems = _problems(event["object"])
                if _runs(event["object"]):
                    return
        self._say_warnings()
        what = f"timed out waiting for pod to start{': ' if problems else ''}{'; '.join(problems)}"
        raise JobFailed("runner_system_failure", what)

    def _events(self, seconds: int) -> Iterator[Any]:
        changes: Any = watch.Watch
        try:
            yield from changes().stream(
                self.core.list_namespaced_pod,
                self.namespace,
                field_selector=f"metadata.name={self.name}",
                timeout_seconds=seconds,
            )
        except ApiException as error:
            # "Too large resource version": the API server's cache is behind its store.
            if error.status != _BEHIND:
                raise

    def _say_warnings(self) -> None:
        if not self.table.get("print_pod_warning_events", True):
            return
        events = self.core.list_namespaced_event(
            self.namespace, field_selector=f"involvedObject.name={self.name},type=Warning"
        )
        for event in events.items[-5:]:
            self.trace.say(f"WARNING: Event retrieved from the cluster: {event.message}")

    def wait_for_services(self) -> None:
        """Wait for the services that name a port by HEALTHCHECK_TCP_PORT."""
        for service in pods.services(self.table, self.job):
            port = {v.key: v.value for v in service.variables}.get("HEALTHCHECK_TCP_PORT", "")
            if not port.isdigit():
                continue
            self.trace.say(f"Waiting for service {service.name} on port {port}...")
            script = f"until (exec 3<> /dev/tcp/localhost/{port}) 2> /dev/null; do sleep 1; done"
            self._execute(pods.HELPER, ["/bin/bash", "-c", script])

    def run(self, container: str, script: str, **environment: str) -> int:
        """Run one of the job's scripts; return its exit code."""
        file = f"{pods.scripts_directory(self.job)}/{script}"
        settings = [f"{key}={value}" for key, value in environment.items()]
        command = f"{_SHELL} {file} 2>&1 < /dev/null"
        return self._execute(container, ["env", *settings, "/bin/sh", "-c", command])

    def _execute(self, container: str, command: list[str]) -> int:
        left = self.deadline - time.monotonic()
        try:
            return execute(
                self.core, self.namespace, self.name, container, command, self.trace.write, left
            )
        except TimedOut:
            timeout = f"execution took longer than {self.job.timeout_seconds}s seconds"
            raise JobFailed("job_execution_timeout", timeout) from None
        except Lost:
            message = f"the connection to container {container} was lost"
            raise JobFailed("runner_system_failure", message) from None
        finally:
            self.trace.flush()

    def say_service_logs(self) -> None:
        """Show the end of the services' logs, which may tell why a job failed."""
        for number, service in enumerate(pods.services(self.table, self.job)):
            text = self.core.read_namespaced_pod_log(
                self.name, self.namespace, container=f"svc-{number}", tail_lines=10
            )
            self.trace.say(f"the end of the log of service {service.name}:")
            self.trace.write(text)
            self.trace.flush()

    def delete(self) -> None:
        """Delete the pod and its Secret, and wait until the pod is gone."""
        grace = self.table.get("cleanup_grace_period_seconds")
        more = {} if grace is None else {"grace_period_seconds": grace}
        with _nothing_if_gone():
            self.core.delete_namespaced_pod(self.name, self.namespace, **more)
        with _nothing_if_gone():
            self.core.delete_namespaced_secret(self.name, self.namespace)
        limit = time.monotonic() + 120
        with _nothing_if_gone():
            while time.monotonic() < limit:
                self.core.read_namespaced_pod(self.name, self.namespace)
                time.sleep(0.2)


@contextmanager
def _nothing_if_gone() -> Iterator[None]:
    try:
        yield
    except ApiException as error:
        if error.status != 404:
            raise


def _name(manager: Manager, job: Job) -> str:
    token = caching.short_token(manager.runner["token"])
    name = f"runner-{token}-project-{job.project_id}-concurrent-0-{secrets.token_hex(4)}"
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def _problems(found: Any) -> list[str]:
    """Return why a pod does not run yet.

    Raises:
        JobFailed: it never will.
    """
    if found.status.phase in {"Failed", "Succeeded"}:
        why = found.status.message or found.status.reason or found.status.phase
        raise JobFailed("runner_system_failure", f"the pod ended before the job: {why}")
    statuses = [
        *(found.status.init_container_statuses or []),
        *(found.status.container_statuses or []),
    ]
    problems = [
        condition.message
        for condition in found.status.conditions or []
        if condition.type == "PodScheduled" and condition.status == "False" and condition.message
    ]
    for status in statuses:
        waiting = status.state.waiting
        if waiting is None or waiting.reason in {"PodInitializing", "ContainerCreating"}:
            continue
        text = f"{status.name}: {waiting.reason}: {waiting.message or ''}"
        if waiting.reason in _IMAGE_FAILURES:
            raise JobFailed("image_pull_failure", f"image pull failed: {text}")
        problems.append(text)
    return problems


def _runs(found: Any) -> bool:
    statuses = found.status.container_statuses or []
    return bool(statuses) and all(status.state.running for status in statuses)


class _Run:
    """The stages of one job."""

    def __init__(self, manager: Manager, job: Job, trace: Trace) -> None:
        self.manager, self.job, self.trace = manager, job, trace
        self.pod = _Pod(manager, job, trace)
        self.seconds: dict[str, float] = {}
        self.restored: dict[str, bool] = {}
        self.saved: dict[str, bool] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = time.monotonic() - start

    def prepare(self) -> None:
        table = self.manager.runner["kubernetes"]
        if ignored := pods.not_acted_on(table):
            self.trace.say(f"stand-in: config.toml has what it ignores: {', '.join(ignored)}")
        self.trace.say(f"Using Kubernetes namespace: {self.pod.namespace}")
        self.trace.say(f"Using Kubernetes executor with image {self.job.image or table['image']}")
        with self.stage("prepare"):
            try:
                self.pod.create(self.manager)
            except ApiException as error:
                text = f"setting up the pod failed: {error.reason}: {error.body}"
                raise JobFailed("runner_system_failure", text) from None
            self.pod.wait()
            self.pod.wait_for_services()
            self.trace.say(f"Running on {self.pod.name} via {self.manager.pod}...")

    def stages(self) -> None:
        with self.stage("get_sources"):
            if code := self.pod.run(pods.HELPER, "get_sources"):
                raise JobFailed("runner_system_failure", "getting the sources failed", code)
        with self.stage("restore_cache"):
            for number, entry in enumerate(self.job.cache):
                if entry.policy in {"pull-push", "pull"}:
                    code = self.pod.run(pods.HELPER, f"restore_cache_{number}")
                    self.restored[entry.key] = code == 0
        with self.stage("step_script"):
            code = self.pod.run(pods.BUILD, "step_script")
        if self.job.after_script:
            with self.stage("after_script"):
                self.trace.say("Running after_script")
                status = "failed" if code else "success"
                self.pod.run(pods.BUILD, "after_script", CI_JOB_STATUS=status)
        wanted = {"always", "on_failure" if code else "on_success"}
        with self.stage("archive_cache"):
            for number, entry in enumerate(self.job.cache):
                if entry.policy in {"pull-push", "push"} and entry.when in wanted:
                    saved = self.pod.run(pods.HELPER, f"archive_cache_{number}")
                    self.saved[entry.key] = saved == 0
        if code:
            self.pod.say_service_logs()
            raise JobFailed("script_failure", f"command terminated with exit code {code}", code)


def run(manager: Manager, job: Job, show: Callable[[str], object] | None = None) -> Result:
    """Run a job in a fresh pod, which is deleted at the end.

    A cache that fails is a warning in the trace, never a failed job.

    Args:
        manager: The deployed manager, as `find` returns it.
        job: The job.
        show: Called with each line of the trace as it comes.
    """
    trace = Trace(variables.all_of(manager.runner, job), show)
    work = _Run(manager, job, trace)
    reason, code = "", 0
    try:
        work.prepare()
        work.stages()
        trace.say("Job succeeded")
    except JobFailed as failure:
        reason, code = failure.reason, failure.exit_code
        trace.say(f"ERROR: Job failed ({reason}): {failure}")
    finally:
        with work.stage("cleanup"):
            work.pod.delete()
    return Result(reason, code, tuple(trace.lines), work.seconds, work.restored, work.saved)
