#!/usr/bin/env python3
"""Bounded load on `weir serve` with SQLite (or --database URL), over loopback, the load generator (wrk) on the same cores.

Usage: bench/serve.py [--jobs 10000] [--seconds 10] [--connections 64]

Measures: process start to the first 200 on /health, resident memory when idle, GET of a job, a list of 50, POST of a job.
Needs wrk (Debian package `wrk`). Results with the machine go to bench/results/serve-*.json.
"""
import argparse, concurrent.futures, datetime, http.client, json, os, pathlib, re, shutil, signal, socket, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("WEIR_CACHE", pathlib.Path.home() / ".cache" / "weir"))
WEIR = os.environ.get("WEIR_BIN") or str(pathlib.Path(os.environ.get("CARGO_TARGET_DIR", CACHE / "target")) / "release" / "weir")
SPEC = "pipeline: bench_%s\nsource: {file: {path: in/*.csv}}\ntransforms:\n  - filter: \"amount > 0\"\nsink: {file: {path: out, format: parquet}}\nschedule: {cron: '0 3 * * *'}\n"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, folder, database=None):
        self.port = free_port()
        self.log = open(os.path.join(folder, "log"), "wb")
        begin = time.perf_counter()
        env = {**os.environ, "METRICS_ENABLED": "false", "LOG_LEVEL": "warn"}
        if database:
            env["DATABASE_URL"] = database
        self.process = subprocess.Popen([WEIR, "serve", "--listen", f"127.0.0.1:{self.port}", "--data", os.path.join(folder, "data")],
                                        stdout=self.log, stderr=self.log, env=env)
        while True:
            if self.process.poll() is not None:
                sys.exit("the server ended: " + open(os.path.join(folder, "log")).read())
            try:
                if self.call("GET", "/health", {})[0] == 200:
                    break
            except OSError:
                time.sleep(0.002)
        self.ready_ms = (time.perf_counter() - begin) * 1000
        # As an administrator with a token: what every request of a real client goes through.
        token = re.search(r"weir_[A-Za-z0-9_\-]+", open(os.path.join(folder, "log")).read())
        self.headers = {"content-type": "application/json", "authorization": "Bearer " + token[0]}

    def call(self, method, path, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, headers=self.headers if headers is None else headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, text

    def rss_mb(self):
        return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{self.process.pid}/status").read())[1]) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def fill(server, count):
    def some(numbers):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        for number in numbers:
            connection.request("POST", "/api/v1/jobs", json.dumps({"spec": SPEC % f"fill_{number}"}), server.headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 201:
                sys.exit(f"POST /api/v1/jobs: {answer.status} {text[:500]}")
        connection.close()
    begin = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(some, [range(part, count, 8) for part in range(8)]))
    return count / (time.perf_counter() - begin)


def wrk(server, path, seconds, connections, script):
    url = f"http://127.0.0.1:{server.port}{path}"
    script = "".join(f"wrk.headers['{name}'] = '{value}'\n" for name, value in server.headers.items()) + script
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script + """
done = function(summary, latency, requests)
  io.write(string.format('RESULT {"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "max_ms": %f, "bad": %d, "broken": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    summary.errors.status, summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
""")
        file.flush()
        out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", file.name, url], capture_output=True, text=True, check=True).stdout
    result = json.loads(re.search(r"RESULT (.*)", out)[1])
    result["per_second"] = round(result["requests"] / result["seconds"])
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=10000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--database", help="a fresh PostgreSQL database for the loads; the starts are measured with SQLite")
    args = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("install wrk")
    starts = []
    for _ in range(5):
        with tempfile.TemporaryDirectory() as folder:
            server = Server(folder)
            time.sleep(3)  # idle: the loops have been round once
            starts.append((server.ready_ms, server.rss_mb()))
            server.stop()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder, args.database)
        try:
            filled = fill(server, args.jobs)
            page = json.loads(server.call("GET", "/api/v1/jobs?limit=50")[1])
            ids = [job.get("id") or job.get("job_id") for job in page.get("items", page.get("jobs", []))]
            names = ", ".join(f'"{i}"' for i in ids)
            get = wrk(server, "/", args.seconds, args.connections,
                      f"local ids = {{{names}}}\nlocal n = 0\nrequest = function() n = n + 1; return wrk.format('GET', '/api/v1/jobs/' .. ids[n % #ids + 1]) end")
            listed = wrk(server, "/api/v1/jobs?limit=50", args.seconds, args.connections, "")
            body = json.dumps(json.dumps({"spec": SPEC % "load_NUMBER"}))
            post = wrk(server, "/", args.seconds, args.connections,
                       f"local body = {body}\nlocal n = 0\n"
                       "request = function() n = n + 1; return wrk.format('POST', '/api/v1/jobs', nil, (body:gsub('NUMBER', tostring(n)))) end")
            busy = server.rss_mb()
        finally:
            server.stop()
    ready = sorted(s[0] for s in starts)[len(starts) // 2]
    idle = max(s[1] for s in starts)
    result = {
        "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30), "kernel": os.uname().release},
        "store": "postgresql" if args.database else "sqlite", "jobs": args.jobs, "connections": args.connections, "filled_per_second": round(filled),
        "start": {"first_200_ms": round(ready, 1), "idle_rss_mb": round(idle, 1), "after_load_rss_mb": round(busy, 1)},
        "get_job": get, "list_50": listed, "post_job": post,
    }
    out = HERE / "results" / f"serve-{datetime.datetime.now():%Y%m%d-%H%M%S}.json"
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"first 200 on /health {ready:.0f} ms (<= 300)   idle {idle:.0f} MB (<= 80)   after load {busy:.0f} MB")
    for name, row, bar in (("GET job", get, 5000), ("list of 50", listed, 1500), ("POST job", post, 1000)):
        print(f"{name:12} {row['per_second']:>7}/s (>= {bar})   p50 {row['p50_ms']:.1f} ms   p99 {row['p99_ms']:.1f} ms (<= 50)   not 2xx {row['bad']}   broken {row['broken']}")
    print(out)


if __name__ == "__main__":
    main()
