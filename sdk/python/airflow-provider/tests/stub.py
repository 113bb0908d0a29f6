"""A small server that answers as a Weir server does, and fails when it is told to."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

PROBLEM = {"type": "x", "title": "x", "instance": "x"}


class Stub:
    """`fails` is a list of (status, body, headers) that are answered first; "drop" closes the connection, after the work is done."""

    def __init__(self):
        self.requests = []
        self.fails = []
        self.runs = {}
        self.keys = {}
        #: States that a run passes through, one for each look at its log; the last one stays.
        self.states = ["succeeded"]
        self.jobs = [{"id": "j1", "name": "load orders"}, {"id": "j2", "name": "orders"}]
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def port(self):
        return self.server.server_address[1]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def asked(self, method, ending):
        return [r for r in self.requests if r["method"] == method and r["path"].endswith(ending)]

    def end(self, run_id, status):
        self.runs[run_id]["status"] = status

    def _answer(self, method, path, params, headers):
        parts = path.strip("/").split("/")[2:]
        match method, parts:
            case "GET", ["me"]:
                return 200, {"name": "airflow", "role": "operator", "tenant_id": headers.get("X-Tenant-Id", "default")}, {}
            case "GET", ["jobs"]:
                at = int(params.get("cursor", 0))
                found = [job for job in self.jobs if params["name"] in job["name"]]
                more = str(at + 1) if at + 1 < len(found) else None
                return 200, {"items": found[at : at + 1], "next_cursor": more}, {}
            case "GET", ["jobs", job_id]:
                known = [job for job in self.jobs if job["id"] == job_id]
                return (200, known[0], {}) if known else (404, {**PROBLEM, "status": 404, "code": "WEIR-API-404", "detail": "no job"}, {})
            case "POST", ["jobs", job_id, "run"]:
                key = headers.get("Idempotency-Key")
                if key in self.keys:
                    return 202, {**self.runs[self.keys[key]], "status": "queued"}, {"Idempotent-Replayed": "true"}
                run_id = f"r{len(self.runs) + 1}"
                streams = [{"name": "orders", "rows_read": 3, "rows_written": 2, "rows_filtered": 1, "rows_dead": 0, "bytes_read": 9, "bytes_written": 7}]
                self.runs[run_id] = {"id": run_id, "job_id": job_id, "job_name": "orders", "job_version": 1, "status": "queued", "attempt": 1, "streams": streams}
                self.keys[key] = run_id
                return 202, self.runs[run_id], {}
            case "GET", ["jobs", job_id, "runs"]:
                found = [run for run in reversed(self.runs.values()) if run["job_id"] == job_id and run["status"] == params["status"]]
                return 200, {"items": found[:1], "next_cursor": None}, {}
            case "GET", ["runs", run_id, "logs"]:
                run = self.runs[run_id]
                if run["status"] not in ("succeeded", "failed", "cancelled"):
                    looks = len(self.asked("GET", "/logs")) - 1
                    run["status"] = self.states[min(looks, len(self.states) - 1)]
                    if run["status"] == "failed":
                        run["error"] = {"code": "WEIR-X-001", "message": "the server went away", "hint": "look after it"}
                after = int(params["after"])
                items = [{"seq": n, "at": "2026-01-01T00:00:00Z", "level": "info", "message": f"line {n}"} for n in range(after + 1, 4)]
                return 200, {"run_status": run["status"], "items": items, "next_after": 3}, {}
            case "GET", ["runs", run_id]:
                return 200, self.runs[run_id], {}
            case "POST", ["runs", run_id, "cancel"]:
                self.end(run_id, "cancelled")
                return 200, self.runs[run_id], {}
        return 404, {**PROBLEM, "status": 404, "code": "WEIR-API-404", "detail": path}, {}

    def _handler(stub):
        class Handler(BaseHTTPRequestHandler):
            def _do(self):
                url = urlsplit(self.path)
                asked = {"method": self.command, "path": url.path, "params": dict(parse_qsl(url.query)), "headers": dict(self.headers)}
                stub.requests.append(asked)
                fails = stub.fails.pop(0) if stub.fails else None
                if fails and fails != "drop":
                    status, body, headers = fails
                else:
                    status, body, headers = stub._answer(asked["method"], asked["path"], asked["params"], self.headers)
                if fails == "drop":
                    self.close_connection = True
                    return
                content = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _do

            def log_message(self, *_):
                pass

        return Handler
