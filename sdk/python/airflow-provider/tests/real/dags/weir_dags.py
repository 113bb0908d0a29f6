"""What people write: a DAG for each way of running a job. The test beside this folder triggers each once."""

import os
import signal
from datetime import timedelta

from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG
from airflow_provider_weir.operators import WeirRunJobOperator
from airflow_provider_weir.sensors import WeirJobSensor, WeirRunSensor

SINCE = "{{ dag_run.run_after.isoformat() }}"
RUN_ID = "{{ ti.xcom_pull(task_ids='load', key='run_id') }}"


class DiesOnce(WeirRunJobOperator):
    """Its process is killed in its first try, right after it has started the run."""

    def _begin(self, server, context):
        run = super()._begin(server, context)
        if context["ti"].try_number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return run


with DAG("weir_run"):
    load = WeirRunJobOperator(task_id="load", job="copy", poll_interval_secs=0.5)
    run = WeirRunSensor(task_id="run", run_id=RUN_ID, poke_interval=0.5, timeout=60, deferrable=False)
    job = WeirJobSensor(task_id="job", job="copy", since=SINCE, poke_interval=0.5, timeout=60)
    load >> [run, job]

with DAG("weir_deferred"):
    load = WeirRunJobOperator(task_id="load", job="copy", poll_interval_secs=0.5, deferrable=True)
    begun = WeirRunJobOperator(task_id="begun", job="held_sensor", wait_for_completion=False)
    wait = WeirRunSensor(
        task_id="wait", run_id=RUN_ID.replace("load", "begun"), poke_interval=0.5, timeout=300, deferrable=True
    )
    load >> begun >> wait

with DAG("weir_fails"):
    WeirRunJobOperator(task_id="load", job="broken", poll_interval_secs=0.5)

with DAG("weir_retried"):
    DiesOnce(task_id="load", job="held_retry", poll_interval_secs=0.5, retries=1, retry_delay=timedelta(seconds=1))

with DAG("weir_killed"):
    WeirRunJobOperator(task_id="load", job="held_kill", poll_interval_secs=0.5)

with DAG("weir_killed_deferred"):
    WeirRunJobOperator(task_id="load", job="held_kill_deferred", poll_interval_secs=0.5, deferrable=True)

# Without the provider: a connection of type http, with the token among its headers.
with DAG("plain_http"):
    trigger_pipeline = HttpOperator(
        task_id="trigger_pipeline",
        http_conn_id="seatunnel_service",
        endpoint="/api/v1/jobs/{{ dag_run.conf['job_id'] }}/run",
        method="POST",
        headers={"Idempotency-Key": "{{ dag_run.run_id }}"},
        response_filter=lambda response: response.json()["id"],
    )
    wait_for_pipeline = HttpSensor(
        task_id="wait_for_pipeline",
        http_conn_id="seatunnel_service",
        endpoint="/api/v1/runs/{{ ti.xcom_pull(task_ids='trigger_pipeline') }}",
        response_check=lambda response: response.json()["status"] == "succeeded",
        poke_interval=0.5,
        timeout=60,
    )
    trigger_pipeline >> wait_for_pipeline
