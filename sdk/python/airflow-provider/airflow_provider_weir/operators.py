"""A run of a job as a task."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, BaseOperator, conf

from airflow_provider_weir import api
from airflow_provider_weir.hooks import WeirHook
from airflow_provider_weir.triggers import WeirRunTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


def key_of(context: Context) -> str:
    """The same for all tries of a task, another one after somebody cleared it: clearing moves the last try that is allowed."""
    ti = context["ti"]
    cleared = max(0, (getattr(ti, "max_tries", 0) or 0) - (getattr(ti.task, "retries", 0) or 0))
    parts = [ti.dag_id, ti.run_id, ti.task_id, str(getattr(ti, "map_index", -1)), str(cleared)]
    return "airflow-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()


class WeirRunJobOperator(BaseOperator):
    """Runs a job of a Weir server, waits for its end, tells its log in the task's log, and returns its counts.

    A try that is repeated finds the run of the try before and goes on waiting for it; only if that run has failed or was stopped a new one is
    started. Which run belongs to a task is remembered by the server for 24 hours (``Idempotency-Key``). A task that is cleared starts a new run.

    The XCom ``return_value`` is a map: run_id, job_id, job_name, job_version, status, attempt, started_at, ended_at, rows_read, rows_written,
    rows_filtered, rows_dead, bytes_read, bytes_written, streams (the same counts for each). The XCom ``run_id`` is there from the start.

    :param job: the job's id or name. (templated)
    :param weir_conn_id: the connection.
    :param tenant: act for this tenant; for platform-admins only. (templated)
    :param wait_for_completion: False: the task ends when the run is started.
    :param deferrable: wait without holding a worker; `operators.default_deferrable` if absent.
    :param poll_interval_secs: how often the run is looked at.
    :param cancel_on_kill: whether the run is stopped, its checkpoint kept, when the task is killed or its `execution_timeout` is over.
    :param idempotency_key: names the run instead of dag, dag run and task: 1 to 160 visible ASCII characters. (templated)
    """

    template_fields: Sequence[str] = ("job", "tenant", "idempotency_key", "weir_conn_id")
    ui_color = "#cfe8ef"

    def __init__(
        self,
        *,
        job: str,
        weir_conn_id: str = WeirHook.default_conn_name,
        tenant: str | None = None,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval_secs: float = 5.0,
        cancel_on_kill: bool = True,
        idempotency_key: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.job = job
        self.weir_conn_id = weir_conn_id
        self.tenant = tenant
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval_secs = poll_interval_secs
        self.cancel_on_kill = cancel_on_kill
        self.idempotency_key = idempotency_key
        self.run_id: str | None = None
        self._server: api.Api | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        self._server = server = WeirHook(self.weir_conn_id, self.tenant).get_conn()
        run = self._begin(server, context)
        self.run_id = run["id"]
        context["ti"].xcom_push(key="run_id", value=self.run_id)
        self.log.info("run %s of job `%s` (%s)", self.run_id, run["job_name"], run["job_id"])
        if not self.wait_for_completion:
            return api.counts(run)
        if self.deferrable and run["status"] not in api.ENDED:
            limit = self.execution_timeout
            self.defer(
                trigger=WeirRunTrigger(
                    run_id=self.run_id,
                    weir_conn_id=self.weir_conn_id,
                    tenant=self.tenant,
                    poll_interval_secs=self.poll_interval_secs,
                    deadline=time.time() + limit.total_seconds() if limit else None,
                    cancel_on_kill=self.cancel_on_kill,
                ),
                method_name="execute_complete",
            )
        after = 0
        while True:
            status, after = server.follow(self.run_id, after, self._tell)
            if status in api.ENDED:
                return self._end(server, self.run_id)
            time.sleep(self.poll_interval_secs)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """The trigger has fired."""
        self.run_id = event["run_id"]
        self._server = server = WeirHook(self.weir_conn_id, self.tenant).get_conn()
        if "error" in event:
            raise AirflowException(f"run {self.run_id} could not be waited for: {event['error']}")
        status, _ = server.follow(self.run_id, event["after"], self._tell)
        if status not in api.ENDED:
            self.on_kill()
            raise AirflowException(f"run {self.run_id} took longer than the task's execution_timeout")
        return self._end(server, self.run_id)

    def on_kill(self) -> None:
        """The task is killed: so is what it started, unless it was said that it goes on."""
        if self.cancel_on_kill and self.run_id and self._server:
            self.log.info("stopping run %s", self.run_id)
            self._server.ask(api.cancel(self.run_id))

    def _begin(self, server: api.Api, context: Context) -> dict[str, Any]:
        key = self.idempotency_key or key_of(context)
        job_id = server.job_id(self.job)
        wanted = key
        while True:
            run, before = server.start(job_id, wanted)
            if not before:
                return run
            # What is given again is the run as it was when it was started.
            run = server.ask(api.get_run(run["id"]))
            if run["status"] == "succeeded" or run["status"] not in api.ENDED:
                self.log.info("found again: it was started by an earlier try")
                return run
            self.log.info("run %s of an earlier try %s: another one", run["id"], run["status"])
            # Of this run there is one successor, however often it is asked for.
            wanted = f"{key}-after-{run['id']}"

    def _tell(self, level: str, text: str) -> None:
        getattr(self.log, level if level in ("debug", "warning", "error") else "info")("%s", text)

    def _end(self, server: api.Api, run_id: str) -> dict[str, Any]:
        run = server.ask(api.get_run(run_id))
        if run["status"] != "succeeded":
            raise AirflowException(api.why(run))
        return api.counts(run)
