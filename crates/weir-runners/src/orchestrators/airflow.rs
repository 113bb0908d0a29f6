//! A DAG of Apache Airflow 3 with the HTTP provider: `HttpOperator` starts the run, `HttpSensor` asks for its end.

use super::Started;

/// The DAG's file. `connection` is Airflow's connection of type `http`; a token is its header `Authorization` (`extra`).
pub fn airflow(started: &Started<'_>, connection: &str) -> String {
    let pipeline = started.pipeline;
    // A JSON string is a string of Python.
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let schedule = pipeline.schedule.as_ref();
    let cron = schedule.map_or("None".into(), |schedule| text(&schedule.cron));
    let zone = text(schedule.and_then(|schedule| schedule.timezone.as_deref()).unwrap_or("UTC"));
    let seconds = u64::from(started.timeout_minutes) * 60;
    format!(
        r#""""Runs `{name}` on Weir and waits for its end. Made by `weir export airflow`.

Needs apache-airflow-providers-http and a connection of type `http` to the server, whose extra has the token:
{{"Authorization": "Bearer …"}}. Trying a task again starts no second run; a new run is a new run of the DAG.
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
        raise AirflowFailException(f"run {{run['id']}} {{run['status']}}: {{run.get('error')}}")
    return run["status"] == "succeeded"


with DAG(
    dag_id="weir_{name}",
    description={about},
    schedule={cron},
    start_date=pendulum.datetime(2026, 1, 1, tz={zone}),
    catchup=False,
    max_active_runs=1,
    tags=["weir"],
):
    start = HttpOperator(
        task_id="start",
        http_conn_id={connection},
        method="POST",
        endpoint="/api/v1/jobs/{job}/run",
        headers={{"Idempotency-Key": "airflow-{{{{ dag_run.dag_id }}}}-{{{{ dag_run.run_id }}}}"}},
        response_check=lambda response: response.status_code == 202,
        response_filter=lambda response: response.json()["id"],
        retries=3,
    )
    wait = HttpSensor(
        task_id="wait",
        http_conn_id={connection},
        method="GET",
        endpoint="/api/v1/runs/{{{{ ti.xcom_pull(task_ids='start') }}}}",
        response_check=ended,
        poke_interval=10,
        timeout={seconds},
        mode="reschedule",
    )
    start >> wait
"#,
        name = pipeline.name,
        about = text(&started.about()),
        connection = text(connection),
        job = started.job,
    )
}
