"""Runs `orders` on Weir and waits for its end. Made by `weir export airflow`.

Needs apache-airflow-providers-http and a connection of type `http` to the server, whose extra has the token:
{"Authorization": "Bearer …"}. Trying a task again starts no second run; a new run is a new run of the DAG.
"""

import pendulum
from airflow.exceptions import AirflowFailException
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG


def ended(response):
    """Whether the run has succeeded. One that ended otherwise fails the task at once."""
    run = response.json()
    if run["status"] in ("failed", "cancelled", "skipped"):
        raise AirflowFailException(f"run {run['id']} {run['status']}: {run.get('error')}")
    return run["status"] == "succeeded"


with DAG(
    dag_id="weir_orders",
    description="Orders: \"all\" of them",
    schedule="0 */6 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="Europe/Berlin"),
    catchup=False,
    max_active_runs=1,
    tags=["weir"],
):
    start = HttpOperator(
        task_id="start",
        http_conn_id="weir",
        method="POST",
        endpoint="/api/v1/jobs/01a1ff19d3df7526/run",
        headers={"Idempotency-Key": "airflow-{{ dag_run.dag_id }}-{{ dag_run.run_id }}"},
        response_check=lambda response: response.status_code == 202,
        response_filter=lambda response: response.json()["id"],
        retries=3,
    )
    wait = HttpSensor(
        task_id="wait",
        http_conn_id="weir",
        method="GET",
        endpoint="/api/v1/runs/{{ ti.xcom_pull(task_ids='start') }}",
        response_check=ended,
        poke_interval=10,
        timeout=5400,
        mode="reschedule",
    )
    start >> wait
