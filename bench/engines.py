#!/usr/bin/env python3
"""The same pipelines natively and on the other engines, on one machine in one run.

Usage: bench/engines.py [files] [postgres] [compile] [submit] [--rows 10000000] [--reps 3] [--engines seatunnel,flink,spark]

  files      CSV -> Parquet: a condition and other names; about 110 bytes a row
  postgres   a table -> Parquet
  compile    `weir compile` for each target, process and all
  submit     a job of ten rows from the command to its end, and the same job handed over by hand (REST, spark-submit): what Weir adds

Wall time is that of `weir run`; an engine that is a server runs already. CPU and memory are sums over the whole process tree (the engine's
servers, `weir`, and what they start), sampled every 50 ms; memory is resident, at its peak. Rows and sums are checked before a time counts.
The engines come from the cache (`cargo xtask service install seatunnel`, `flink-cluster`, `spark`), one at a time.
"""
import argparse, datetime, json, os, pathlib, platform, shutil, subprocess, sys, tempfile, threading, time, urllib.request

from run import CACHE, ROOT, WEIR, Server, fresh

XTASK = [os.environ["XTASK_BIN"]] if os.environ.get("XTASK_BIN") else ["cargo", "xtask"]
SPARK_HOME = CACHE / "spark-4.3.0/site/pyspark"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)
TARGETS = ["seatunnel:2.3.4", "flink-sql", "flink-json", "spark", "kafka-connect"]
SERVICES = {"seatunnel": "seatunnel", "flink": "flink-cluster"}


class Watch:
    """CPU and memory of processes and all that they start, while it is open."""

    def __init__(self, roots):
        self.roots, self.first, self.last, self.peak, self.done = set(roots), {}, {}, 0.0, threading.Event()
        self.look(begin=True)
        self.thread = threading.Thread(target=self.loop)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        self.look()

    def loop(self):
        while not self.done.wait(0.05):
            self.look()

    def look(self, begin=False):
        found, parents = {}, {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    fields = pathlib.Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                # A number is given out again: the time of its start tells two processes apart.
                found[int(entry)] = ((int(entry), fields[19]), (int(fields[11]) + int(fields[12])) / TICKS, int(fields[21]) * PAGE_MB)
                parents[int(entry)] = int(fields[1])
        ours, memory = set(self.roots), 0.0
        grown = True
        while grown:
            more = {pid for pid, parent in parents.items() if parent in ours and pid not in ours}
            ours |= more
            grown = bool(more)
        for pid in ours & found.keys():
            name, cpu, resident = found[pid]
            self.first.setdefault(name, cpu if begin else 0.0)
            self.last[name] = cpu
            memory += resident
        self.peak = max(self.peak, memory)

    def figure(self, wall):
        cpu = sum(self.last[name] - self.first[name] for name in self.last)
        return {"wall_s": wall, "cpu_s": cpu, "rss_mb": self.peak}


class Engine:
    """An engine that runs, or a program that needs none."""

    def __init__(self, name):
        self.name, self.options, self.pids = name, [], set()

    def __enter__(self):
        if self.name in SERVICES:
            said = xtask("service", "start", SERVICES[self.name])
            urls = [word.rstrip(",") for word in said.split() if word.startswith("http")]
            self.urls = urls
            self.options = [f"url={urls[0]}"] + ([f"sql_gateway_url={urls[1]}"] if self.name == "flink" else [])
            self.pids = processes_at([int(url.rsplit(":", 1)[1]) for url in urls])
        elif self.name == "spark":
            self.options = [f"home={SPARK_HOME}", "master=local[2]", "driver_memory=2g"]
        return self

    def __exit__(self, *_):
        if self.name in SERVICES:
            xtask("service", "stop", SERVICES[self.name])

    def arguments(self):
        engine = [] if self.name == "native" else ["--engine", self.name]
        return engine + [part for option in self.options for part in ("--engine-option", option)]


def xtask(*arguments):
    return subprocess.run(XTASK + list(arguments), check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()


def processes_at(ports):
    """Who listens there, and the other servers that were started in the same folder."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in pathlib.Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) in ports:
                inodes.add(f"socket:[{fields[9]}]")
    found, folders = set(), set()
    everybody = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    for pid in everybody:
        try:
            if any(os.readlink(link) in inodes for link in pathlib.Path(f"/proc/{pid}/fd").iterdir()):
                found.add(pid)
                folders.add(os.readlink(f"/proc/{pid}/cwd"))
        except OSError:
            continue
    for pid in everybody:
        try:
            if os.readlink(f"/proc/{pid}/cwd") in folders:
                found.add(pid)
        except OSError:
            continue
    return found


def generated(rows, folder):
    """Four files of CSV without header and quotes: numbers, text, decimals, days, moments."""
    done = folder / f"rows-{rows}"
    if done.exists():
        return done
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = ["Noor", "Søren", "Ada", "李雷", "Zoë", "Bruno", "Chiara"]
    rest = [
        f"{names[i % 7]} {i % 1009},{i * 7919 % 10_000_000 / 100:.2f},{i % 1000 / 1000},2026-{i % 12 + 1:02}-{i % 28 + 1:02},"
        f"2026-{i % 12 + 1:02}-{i % 28 + 1:02} {i % 24:02}:{i % 60:02}:{i % 60:02},order number {i % 50021} of a customer in the list\n"
        for i in range(100_000)
    ]
    for part in range(4):
        with open(folder / f"orders-{part}.csv", "w") as out:
            begin, end = rows * part // 4, rows * (part + 1) // 4
            for start in range(begin, end, 100_000):
                out.write("".join(f"{i},{rest[i % 100_000]}" for i in range(start, min(end, start + 100_000))))
    done.touch()
    return done


COLUMNS = "{id: int64, customer: string, amount: \"decimal(12,2)\", ratio: float64, day: date, at: timestamp, note: string}"
STEPS = """transforms:
  - filter: ratio > 0.1
  - field_mapper: {rename: {customer: buyer}}
sink: {file: {path: out, format: parquet, compression: snappy}}
"""


def pipeline(name, source, folder, steps=STEPS):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.yaml").write_text(f"pipeline: {name}\nparallelism: 2\nsource: {source}\n{steps}")
    return folder


def of_files(data, folder):
    names = "[id, customer, amount, ratio, day, at, note]"
    source = f'{{file: {{path: "{data}/*.csv", format: csv, csv: {{header: absent, quote: "", delimiter: ",", columns: {names}}}, columns: {COLUMNS}}}}}'
    return pipeline("bench_files", source, folder)


def of_postgres(server, folder):
    source = f'{{postgres: {{host: 127.0.0.1, port: {server.port}, database: postgres, user: postgres, table: engine_orders}}}}'
    return pipeline("bench_postgres", source, folder)


def ran(engine, folder, rows):
    """One run; its figures, once the rows are what they must be."""
    fresh(folder / "out")
    shutil.rmtree(folder / "state", ignore_errors=True)
    command = [WEIR, "run", "--progress", "none", "--json", "--state-dir", "state", *engine.arguments(), "pipeline.yaml"]
    errors = tempfile.TemporaryFile()
    begin = time.perf_counter()
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=errors, stdin=subprocess.DEVNULL)
    with Watch(engine.pids | {child.pid}) as watch:
        code = child.wait()
    wall = time.perf_counter() - begin
    if code != 0:
        errors.seek(0)
        raise RuntimeError(f"{engine.name} ended with {code}: {errors.read().decode(errors='replace')[-1500:]}")
    checked(folder / "out", rows)
    return watch.figure(wall)


def checked(folder, rows):
    """Rows and the sum of their numbers, by `weir query`."""
    (folder.parent / "check.yaml").write_text(
        "pipeline: check\nsources:\n  rows: {file: {path: out, format: parquet}}\nsink: {file: {path: nowhere, format: ndjson}}\n")
    command = [WEIR, "query", "--file", "check.yaml", "--json", "SELECT count(*) AS n, sum(id) AS s FROM rows"]
    done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True)
    # Of each hundred thousand rows the same places stay.
    places = [i for i in range(min(rows, 100_000)) if i % 1000 / 1000 > 0.1]
    blocks = max(1, rows // 100_000)
    wanted = {"n": len(places) * blocks, "s": sum(places) * blocks + len(places) * 100_000 * (blocks * (blocks - 1) // 2)}
    if done.returncode != 0 or json.loads(done.stdout) != wanted:
        raise RuntimeError(f"the result is {done.stdout or done.stderr[-500:]}, and should be {wanted}")


def compared(name, folder, rows, engines, reps):
    """Each engine in turn; medians."""
    table = {}
    for engine_name in ["native", *engines]:
        try:
            with Engine(engine_name) as engine:
                figures = []
                for rep in range(reps):
                    figures.append(ran(engine, folder, rows))
                    told(f"{name} {rep + 1}/{reps} {engine_name:10}", figures[-1])
        except (RuntimeError, subprocess.CalledProcessError) as error:
            table[engine_name] = {"error": str(error)[-500:]}
            print(f"  {name} {engine_name}: {error}", file=sys.stderr)
            continue
        median = lambda key: sorted(figure[key] for figure in figures)[len(figures) // 2]
        table[engine_name] = {key: round(median(key), 2) for key in ("wall_s", "cpu_s", "rss_mb")}
        native = table["native"]
        if engine_name != "native" and "wall_s" in native:
            table[engine_name]["times_slower"] = round(table[engine_name]["wall_s"] / native["wall_s"], 1)
            table[engine_name]["times_memory"] = round(table[engine_name]["rss_mb"] / native["rss_mb"], 1)
    return table


def told(what, figure):
    print(f"  {what} {figure['wall_s']:7.2f} s  cpu {figure['cpu_s']:7.2f} s  {figure['rss_mb']:7.0f} MB", file=sys.stderr)


def compile_times(folder, reps=30):
    table = {}
    for target in TARGETS:
        times = []
        for _ in range(reps):
            begin = time.perf_counter()
            done = subprocess.run([WEIR, "compile", "pipeline.yaml", "--target", target], cwd=folder, capture_output=True)
            times.append((time.perf_counter() - begin) * 1000)
        times.sort()
        table[target] = {"median_ms": round(times[len(times) // 2], 1), "p95_ms": round(times[int(len(times) * 0.95)], 1), "exit_code": done.returncode}
        print(f"  compile {target:16} {table[target]}", file=sys.stderr)
    return table


def asked(url, body=None, method=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def until(look):
    while not look():
        time.sleep(0.02)


def by_hand(engine, folder):
    """The compiled job, handed over without Weir and looked at until it ends. Compiling is not part of the time."""
    fresh(folder / "out")
    target = {"seatunnel": "seatunnel:2.3.4", "flink": "flink-sql", "spark": "spark"}[engine.name]
    form = ["--format", "json"] if engine.name == "seatunnel" else []
    job = subprocess.run([WEIR, "compile", "pipeline.yaml", "--target", target, *form], cwd=folder, check=True, capture_output=True, text=True).stdout
    begin = time.perf_counter()
    if engine.name == "seatunnel":
        base = engine.urls[0] + "/hazelcast/rest/maps"
        given = str(asked(f"{base}/submit-job?jobName=by_hand", json.loads(job))["jobId"])
        until(lambda: any(str(one["jobId"]) == given for one in asked(f"{base}/finished-jobs/FINISHED")))
    elif engine.name == "flink":
        session = asked(f"{engine.urls[1]}/v1/sessions", {})["sessionHandle"]
        number = None
        for statement in [part.strip().rstrip(";") for part in job.split(";\n\n")]:
            handle = asked(f"{engine.urls[1]}/v1/sessions/{session}/statements", {"statement": statement})["operationHandle"]
            result = {}
            place = f"{engine.urls[1]}/v1/sessions/{session}/operations/{handle}/result/0"
            until(lambda: result.update(asked(place)) or result["resultType"] != "NOT_READY")
            number = result.get("jobID") or number
        until(lambda: asked(f"{engine.urls[0]}/jobs/{number}")["state"] == "FINISHED")
    else:
        (folder / "by_hand.py").write_text(job)
        environment = dict(os.environ, SPARK_HOME=str(SPARK_HOME), SPARK_LOCAL_IP="127.0.0.1")
        subprocess.run([str(SPARK_HOME / "bin/spark-submit"), "--master", "local[2]", "--driver-memory", "2g", "--conf", "spark.driver.host=127.0.0.1",
                        "--conf", "spark.ui.enabled=false", "by_hand.py"], cwd=folder, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def submitted(folder, engines, reps):
    """Ten rows: medians through Weir and by hand, and what lies between."""
    (folder / "in").mkdir(parents=True, exist_ok=True)
    (folder / "in/rows.ndjson").write_text("".join(f'{{"id": {i}}}\n' for i in range(10)))
    pipeline("bench_submit", f"{{file: {{path: {folder}/in/rows.ndjson, columns: {{id: int64}}}}}}", folder, f"sink: {{file: {{path: {folder}/out, format: ndjson}}}}\n")
    table = {}
    for name in engines:
        with Engine(name) as engine:
            command = [WEIR, "run", "--progress", "none", "--json", "--state-dir", "state", *engine.arguments(), "pipeline.yaml"]
            weir, hand = [], []
            for rep in range(reps + 1):  # the first job of an engine loads classes
                fresh(folder / "out")
                begin = time.perf_counter()
                subprocess.run(command, cwd=folder, check=True, capture_output=True)
                weir.append(time.perf_counter() - begin)
                hand.append(by_hand(engine, folder))
        middle = lambda times: sorted(times[1:])[len(times[1:]) // 2]
        table[name] = {"weir_s": round(middle(weir), 2), "by_hand_s": round(middle(hand), 2), "overhead_s": round(middle(weir) - middle(hand), 2)}
        print(f"  submit {name:10} {table[name]}", file=sys.stderr)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["files", "postgres", "compile", "submit", []], default=[])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--engines", default="seatunnel,flink,spark")
    parser.add_argument("--keep", action="store_true", help="keep the generated rows")
    args = parser.parse_args()
    if args.rows > 100_000 and args.rows % 400_000:
        parser.error("--rows: above a hundred thousand in steps of 400,000")
    parts = args.parts or ["files", "postgres", "compile", "submit"]
    engines = [name for name in args.engines.split(",") if name]
    work = pathlib.Path(os.environ.get("BENCH_WORK", CACHE / "bench-engines"))
    data, result = work / "data", {}
    if "files" in parts or "postgres" in parts:
        generated(args.rows, data)
    if "files" in parts:
        result["files"] = compared("files", of_files(data, work / "files"), args.rows, engines, args.reps)
    if "postgres" in parts:
        server = Server().start()
        try:
            if server.sql("SELECT to_regclass('engine_orders') IS NOT NULL") != "t" or int(server.sql("SELECT count(*) FROM engine_orders")) != args.rows:
                server.sql("DROP TABLE IF EXISTS engine_orders; CREATE TABLE engine_orders (id bigint PRIMARY KEY, customer text, amount numeric(12,2), ratio double precision, day date, at timestamp, note text)")
                for part in sorted(data.glob("*.csv")):
                    subprocess.run(["psql", "-Xq", server.url, "-c", f"\\copy engine_orders from '{part}' csv"], check=True, stdout=subprocess.DEVNULL)
                server.sql("VACUUM (FREEZE, ANALYZE) engine_orders")
            result["postgres"] = compared("postgres", of_postgres(server, work / "postgres"), args.rows, engines, args.reps)
        finally:
            server.stop()
    if "compile" in parts:
        result["compile"] = compile_times(of_files(data, work / "files"))
    if "submit" in parts:
        result["submit"] = submitted(work / "submit", engines, args.reps)
    if not args.keep:
        shutil.rmtree(data, ignore_errors=True)
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "kernel": platform.release()}
    whole = {"rows": args.rows, "machine": machine, "weir": subprocess.run([WEIR, "--version"], capture_output=True, text=True).stdout.strip(), **result}
    text = json.dumps(whole, indent=1, ensure_ascii=False)
    place = ROOT / "bench/results" / f"engine-bars-{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H%MZ}.json"
    place.write_text(text + "\n")
    print(text)
    print(place, file=sys.stderr)


if __name__ == "__main__":
    main()
