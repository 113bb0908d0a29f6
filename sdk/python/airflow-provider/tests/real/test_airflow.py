"""The DAGs of `dags` in a real Airflow against a real server. `scripts/airflow.sh` runs this."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from servers import until

pytestmark = pytest.mark.real


def test_a_run_is_waited_for_and_its_counts_are_the_task_s_result(begun, weir):
    run = begun["weir_run"]
    assert run.ended() == "success", run.log("load")
    told = run.xcom("load")
    assert (told["status"], told["rows_read"], told["rows_written"]) == ("succeeded", 9, 9)
    kept = weir.get(f"/api/v1/runs/{told['run_id']}")
    assert kept["streams"] == told["streams"]
    # Both sensors saw it, or the run of another DAG that came later.
    assert run.xcom("run")["run_id"] == told["run_id"]
    assert run.xcom("job")["job_id"] == weir.jobs["copy"]
    # The run's own log is in the task's; Airflow leaves out what is for debugging.
    lines = [line for line in weir.get(f"/api/v1/runs/{told['run_id']}/logs")["items"] if line["level"] != "debug"]
    assert lines
    log = run.log("load")
    for line in lines:
        assert f"{line['at']} {line['message']}" in log, f"{line} is not in\n{log}"


def test_deferred_tasks_hold_no_worker(begun, weir, pages):
    run = begun["weir_deferred"]
    until("the sensor to be deferred", lambda: run.task("wait")["state"] == "deferred")
    assert run.task("load")["state"] == "success"
    assert (run.xcom("load")["rows_written"], run.xcom("begun")["status"]) == (9, "queued")
    pages.gate("held_sensor").set()
    assert run.ended() == "success"
    assert run.xcom("wait")["rows_written"] == 9
    assert run.xcom("wait")["run_id"] == run.xcom("begun")["run_id"]
    # The triggerer has told the run's log, too.
    assert "succeeded" in run.log("wait")


def test_a_run_that_fails_fails_the_task_and_says_why(begun, weir):
    run = begun["weir_fails"]
    assert run.ended() == "failed"
    (failed,) = weir.runs("broken")
    error = weir.get(f"/api/v1/runs/{failed['id']}")["error"]
    assert failed["status"] == "failed"
    assert error["code"] in run.log("load")
    assert run.xcom("load", "run_id") == failed["id"]


def test_a_task_that_dies_finds_its_run_again(begun, weir, pages):
    run = begun["weir_retried"]
    until("the second try", lambda: run.task("load")["try_number"] == 2 and run.task("load")["state"] == "running")
    until("it to find the run", lambda: "found again" in run.log("load", 2))
    pages.gate("held_retry").set()
    assert run.ended() == "success"
    (only,) = weir.runs("held_retry")
    assert run.xcom("load")["run_id"] == only["id"]
    assert run.xcom("load")["rows_written"] == 9


@pytest.mark.parametrize(
    ("dag", "job", "state"), [("weir_killed", "held_kill", "running"), ("weir_killed_deferred", "held_kill_deferred", "deferred")]
)
def test_a_task_that_is_killed_stops_its_run(begun, weir, pages, dag, job, state):
    run = begun[dag]
    until("the run to be held", lambda: job in pages.asked)
    until("the task to wait", lambda: run.task("load")["state"] == state)
    run.mark_failed("load")
    until("the run to be asked to stop", lambda: weir.runs(job)[0]["cancel_requested"])
    pages.gate(job).set()
    until("the run to be stopped", lambda: weir.runs(job)[0]["status"] == "cancelled")
    assert len(weir.runs(job)) == 1


def test_the_http_operator_needs_no_provider(begun, weir):
    run = begun["plain_http"]
    assert run.ended() == "success", run.log("trigger_pipeline") + run.log("wait_for_pipeline")
    assert weir.get(f"/api/v1/runs/{run.xcom('trigger_pipeline')}")["status"] == "succeeded"


def test_an_exported_dag_runs_its_job_once_however_often_its_tasks_run(begun, weir):
    run = begun["exported"]
    assert run.ended() == "success", run.log("start") + run.log("wait")
    first = run.xcom("start")
    kept = weir.get(f"/api/v1/runs/{first}")
    assert (kept["status"], sum(stream["rows_written"] for stream in kept["streams"])) == ("succeeded", 9)
    run.again("start")
    until("the second try", lambda: run.task("wait")["try_number"] == 2 and run.get()["state"] == "success")
    assert run.xcom("start") == first
    assert [one["id"] for one in weir.runs("exported")] == [first]


def test_an_exported_dag_fails_with_its_run_and_says_why(begun, weir):
    run = begun["exported_broken"]
    assert run.ended() == "failed"
    assert (run.task("start")["state"], run.task("wait")["state"]) == ("success", "failed")
    (failed,) = weir.runs("exported_broken")
    log = run.log("wait")
    assert f"run {failed['id']} failed" in log
    assert weir.get(f"/api/v1/runs/{failed['id']}")["error"]["code"] in log


def test_an_exported_dag_has_the_schedule_of_its_pipeline(airflow, begun):
    told = airflow.client.get("/api/v2/dags/weir_exported_nightly/details").json()
    assert (told["timetable_summary"], told["catchup"]) == ("0 3 * * *", False)
    following = datetime.fromisoformat(told["next_dagrun_run_after"]).astimezone(ZoneInfo("Europe/Berlin"))
    assert (following.hour, following.minute) == (3, 0)
