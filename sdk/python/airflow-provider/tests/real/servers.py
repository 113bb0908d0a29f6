"""A real `weir serve` and a real Airflow (scheduler, triggerer, DAG processor, API server; LocalExecutor, SQLite), each in a folder of its own.

``WEIR_BIN`` is the program; ``AIRFLOW_BIN`` that of Airflow. Both listen on loopback and are stopped by their process at the end.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import psutil

HERE = Path(__file__).parent


def until(what, wanted, secs=180, every=0.25):
    """Looks until `wanted` gives something true, and gives it."""
    ends = time.monotonic() + secs
    while True:
        found = wanted()
        if found:
            return found
        assert time.monotonic() < ends, f"waited {secs} s for {what}"
        time.sleep(every)


def free_ports(count):
    holders = [socket.socket() for _ in range(count)]
    for holder in holders:
        holder.bind(("127.0.0.1", 0))
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


class Program:
    """A process with its output in a file."""

    def __init__(self, log, command, env):
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)

    def said(self, pattern):
        found = re.search(pattern, self.log.read_text(errors="replace"), re.M)
        assert found or self.process.poll() is None, self.log.read_text(errors="replace")[-4000:]
        return found and found.group(1)

    def stop(self):
        try:
            mine = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            mine = []
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        # Tasks that Airflow has begun have groups of their own and outlive it.
        for child in mine:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                pass


class Pages:
    """Pages of three rows; the second one of a path waits until it is released."""

    def __init__(self):
        self.gates, self.asked = {}, set()
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                url = urlsplit(self.path)
                page = int(parse_qs(url.query).get("page", ["1"])[0])
                name = url.path.strip("/")
                if page > 1:
                    pages.asked.add(name)
                    pages.gate(name).wait(600)
                rows = [{"id": page * 10 + n} for n in range(3)] if page < 4 else []
                body = json.dumps({"data": rows}).encode()
                try:
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def gate(self, name):
        return self.gates.setdefault(name, threading.Event())

    def close(self):
        for gate in list(self.gates.values()):
            gate.set()
        self.server.shutdown()
        self.server.server_close()


class Weir:
    """The server with its jobs, asked as its administrator; Airflow has a token of an operator."""

    def __init__(self, folder, pages):
        env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "WEIR_EGRESS_ALLOW": "127.0.0.1/32"}
        command = [os.environ["WEIR_BIN"], "serve", "--data", str(folder / "weir"), "--listen", "127.0.0.1:0", "--workers", "6"]
        self.program = Program(folder / "weir.log", command, env)
        self.url = until("weir", lambda: self.program.said(r"^weir listens on (\S+)"), 60)
        token = until("the token", lambda: self.program.said(r"^token of the first administrator.*: (\S+)"), 60)
        self.client = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        principal = self.post("/api/v1/principals", {"kind": "service_account", "name": "airflow", "role": "operator"})
        self.token = self.post("/api/v1/tokens", {"principal_id": principal["id"], "name": "airflow"})["token"]
        self.jobs, self.specs = {}, {}
        copy = {"http": {"url": f"{pages.url}/copy", "records": "data", "pagination": {"page": {}}}}
        self.job("copy", copy)
        self.job("broken", {"http": {"url": "http://127.0.0.1:9/nothing"}})
        for name in ("held_sensor", "held_retry", "held_kill", "held_kill_deferred"):
            self.job(name, {"http": {"url": f"{pages.url}/{name}", "records": "data", "pagination": {"page": {}}}})
        pages.gate("copy").set()
        # What `weir export airflow` is asked for has jobs of its own: its runs are counted.
        self.job("exported", copy)
        self.job("exported_broken", {"http": {"url": "http://127.0.0.1:9/nothing"}})
        self.job("exported_nightly", copy, schedule={"cron": "0 3 * * *", "timezone": "Europe/Berlin"})

    def post(self, path, body=None):
        answer = self.client.post(path, json=body) if body is not None else self.client.post(path)
        assert answer.is_success, answer.text
        return answer.json()

    def get(self, path):
        answer = self.client.get(path)
        assert answer.is_success, answer.text
        return answer.json()

    def job(self, name, source, **more):
        sink = {"file": {"path": f"out/{name}", "format": "ndjson", "write_mode": "append"}}
        # The schedule is the orchestrator's: the server has the job without it.
        spec = {"pipeline": name, "source": source, "sink": sink}
        body = {"name": name, "spec": json.dumps(spec), "retry": {"max_attempts": 1}}
        self.jobs[name] = self.post("/api/v1/jobs", body)["id"]
        self.specs[name] = {**spec, **more}

    def export(self, name, folder):
        """The DAG that `weir export airflow` makes of a job, as a file of this folder."""
        pipeline = folder / f"{name}.json"
        pipeline.write_text(json.dumps(self.specs[name]))
        command = [os.environ["WEIR_BIN"], "export", "airflow", str(pipeline), "--job", self.jobs[name]]
        made = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert made.returncode == 0, made.stderr
        (folder / f"weir_{name}.py").write_text(made.stdout)

    def runs(self, name):
        """The runs of a job, newest first."""
        return self.get(f"/api/v1/jobs/{self.jobs[name]}/runs")["items"]


class Airflow:
    """`airflow standalone`, asked over its API."""

    def __init__(self, folder, weir):
        home = folder / "airflow"
        home.mkdir()
        port, triggers, logs = free_ports(3)
        host, weir_port = re.fullmatch(r"http://(.*):(\d+)", weir.url).groups()
        connection = {"conn_type": "weir", "host": host, "port": int(weir_port), "schema": "http", "password": weir.token}
        extra = {"Authorization": f"Bearer {weir.token}"}
        plain = {"conn_type": "http", "host": host, "port": int(weir_port), "schema": "http", "extra": extra}
        dags = folder / "dags"
        shutil.copytree(HERE / "dags", dags)
        for name in ("exported", "exported_broken", "exported_nightly"):
            weir.export(name, dags)
        env = {
            **os.environ,
            "PATH": f"{Path(os.environ['AIRFLOW_BIN']).parent}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW_CONN_WEIR_DEFAULT": json.dumps(connection),
            "AIRFLOW_CONN_SEATUNNEL_SERVICE": json.dumps(plain),
            # The name that an exported DAG has for it.
            "AIRFLOW_CONN_WEIR": json.dumps(plain),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(triggers),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(logs),
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        env.pop("PYTEST_CURRENT_TEST", None)
        self.home = home
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        self.program = Program(folder / "airflow.log", [os.environ["AIRFLOW_BIN"], "standalone"], env)
        until("Airflow", self.ready, 300)

    def ready(self):
        assert self.program.process.poll() is None, self.program.log.read_text(errors="replace")[-6000:]
        try:
            token = self.client.get("/auth/token")
            if token.is_success:
                self.client.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
                wanted = ("weir_run", "weir_exported", "weir_exported_broken", "weir_exported_nightly")
                return all(self.client.get(f"/api/v2/dags/{dag}").is_success for dag in wanted)
        except httpx.TransportError:
            pass
        return False

    def trigger(self, dag, conf=None):
        answer = self.client.post(f"/api/v2/dags/{dag}/dagRuns", json={"logical_date": None, "conf": conf or {}})
        assert answer.is_success, answer.text
        return Run(self, dag, answer.json()["dag_run_id"])


class Run:
    """A run of a DAG."""

    def __init__(self, airflow, dag, run_id):
        self.airflow, self.dag, self.run_id = airflow, dag, run_id
        self.path = f"/api/v2/dags/{dag}/dagRuns/{run_id}"

    def get(self, path=""):
        answer = self.airflow.client.get(self.path + path)
        assert answer.is_success, answer.text
        return answer.json()

    def task(self, task):
        return self.get(f"/taskInstances/{task}")

    def ended(self, secs=240):
        until(f"{self.dag} to end", lambda: self.get()["state"] in ("success", "failed"), secs)
        return self.get()["state"]

    def again(self, task):
        """The task, and what comes after it, once more in the same run."""
        body = {"dry_run": False, "dag_run_id": self.run_id, "task_ids": [task], "include_downstream": True, "only_failed": False}
        answer = self.airflow.client.post(f"/api/v2/dags/{self.dag}/clearTaskInstances", json=body)
        assert answer.is_success, answer.text

    def xcom(self, task, key="return_value"):
        return self.get(f"/taskInstances/{task}/xcomEntries/{key}?deserialize=false&stringify=false")["value"]

    def log(self, task, attempt=1):
        """All that Airflow keeps of the task's log, of workers and triggerer."""
        folder = self.airflow.home / "logs" / f"dag_id={self.dag}" / f"run_id={self.run_id}" / f"task_id={task}"
        return "".join(path.read_text(errors="replace") for path in sorted(folder.glob(f"attempt={attempt}.log*")))

    def mark_failed(self, task):
        answer = self.airflow.client.patch(f"{self.path}/taskInstances/{task}", json={"new_state": "failed"})
        assert answer.is_success, answer.text
