"""Waits for runs that something else has started."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, BaseSensorOperator, PokeReturnValue, conf

from airflow_provider_weir import api
from airflow_provider_weir.hooks import WeirHook
from airflow_provider_weir.triggers import WeirRunTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


def judged(run: dict[str, Any]) -> PokeReturnValue:
    """Whether a run has ended; its counts.

    :raises AirflowException: it has not succeeded.
    """
    if run["status"] not in api.ENDED:
        return PokeReturnValue(is_done=False)
    if run["status"] != "succeeded":
        raise AirflowException(api.why(run))
    return PokeReturnValue(is_done=True, xcom_value=api.counts(run))


class WeirRunSensor(BaseSensorOperator):
    """Waits until a run has succeeded and returns its counts; fails if the run fails, was stopped or skipped. It never stops the run.

    :param run_id: the run: `{{ ti.xcom_pull(task_ids='load', key='run_id') }}`. (templated)
    :param weir_conn_id: the connection.
    :param tenant: act for this tenant; for platform-admins only. (templated)
    :param deferrable: wait without holding a worker; `operators.default_deferrable` if absent.
    """

    template_fields: Sequence[str] = ("run_id", "tenant", "weir_conn_id")
    ui_color = "#e3f1f5"

    def __init__(
        self,
        *,
        run_id: str,
        weir_conn_id: str = WeirHook.default_conn_name,
        tenant: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.run_id = run_id
        self.weir_conn_id = weir_conn_id
        self.tenant = tenant
        self.deferrable = deferrable

    def poke(self, context: Context) -> PokeReturnValue:
        return judged(WeirHook(self.weir_conn_id, self.tenant).get_run(self.run_id))

    def execute(self, context: Context) -> Any:
        if not self.deferrable:
            return super().execute(context)
        done = self.poke(context)
        if done.is_done:
            return done.xcom_value
        self.defer(
            trigger=WeirRunTrigger(
                run_id=self.run_id,
                weir_conn_id=self.weir_conn_id,
                tenant=self.tenant,
                poll_interval_secs=float(self.poke_interval),
                deadline=time.time() + float(self.timeout),
                cancel_on_kill=False,
            ),
            method_name="execute_complete",
        )
        return None

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """The trigger has fired."""
        if "error" in event:
            raise AirflowException(f"run {self.run_id} could not be waited for: {event['error']}")
        done = self.poke(context)
        if not done.is_done:
            raise AirflowException(f"run {self.run_id} took longer than the sensor's timeout")
        return done.xcom_value


class WeirJobSensor(BaseSensorOperator):
    """Waits until a job has a run that was called for at or after `since` and has succeeded, and returns the counts of the newest one.

    A run that failed is waited past: the job's own schedule, or a retry, may still bring the data.

    :param job: the job's id or name. (templated)
    :param since: an ISO 8601 time with zone: `{{ data_interval_end.isoformat() }}`. (templated)
    :param weir_conn_id: the connection.
    :param tenant: act for this tenant; for platform-admins only. (templated)
    """

    template_fields: Sequence[str] = ("job", "since", "tenant", "weir_conn_id")
    ui_color = "#e3f1f5"

    def __init__(
        self,
        *,
        job: str,
        since: str,
        weir_conn_id: str = WeirHook.default_conn_name,
        tenant: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.job = job
        self.since = since
        self.weir_conn_id = weir_conn_id
        self.tenant = tenant

    def poke(self, context: Context) -> PokeReturnValue:
        since = datetime.datetime.fromisoformat(self.since.replace("Z", "+00:00"))
        if since.tzinfo is None:
            raise AirflowException(f"`since` has no zone: {self.since}")
        server = WeirHook(self.weir_conn_id, self.tenant).get_conn()
        since_utc = since.astimezone(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
        params = {"status": "succeeded", "since": since_utc, "limit": 1}
        page = server.ask(api.Ask("GET", f"/api/v1/jobs/{server.job_id(self.job)}/runs", params=params))
        return judged(page["items"][0]) if page["items"] else PokeReturnValue(is_done=False)
