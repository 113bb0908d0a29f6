#!/usr/bin/env python3
"""Benchmarks of Weir against a floor and its peers, on one machine in one run.

Usage: bench/run.py [pg_to_parquet|csv_to_parquet|parquet_to_pg|growth|start|all] [--reps 3] [--scale 1] [--peers a,b]

Every program runs as its own process, in turn with the others, `reps` times; wall time, CPU time and peak memory come from the kernel
(wait4). Results are checked (row count, sums) before a time counts. The table and the machine go to bench/results/.
Data, the server and the peers' virtual environment live in the cache ($WEIR_CACHE or ~/.cache/weir), not in the clone.
"""
import argparse, datetime, json, os, pathlib, platform, resource, shutil, signal, subprocess, sys, tempfile, threading, time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
CACHE = pathlib.Path(os.environ.get("WEIR_CACHE", pathlib.Path.home() / ".cache" / "weir"))
VENV = CACHE / "bench-venv"
PY = str(VENV / "bin" / "python")
# DuckDB's PostgreSQL scanner comes as a package for 1.5 only.
SCANNER = CACHE / "bench-venv-scanner"
WEIR = os.environ.get("WEIR_BIN") or str(pathlib.Path(os.environ.get("CARGO_TARGET_DIR", CACHE / "target")) / "release" / "weir")
DDL = """(l_orderkey bigint NOT NULL, l_partkey bigint NOT NULL, l_suppkey bigint NOT NULL, l_linenumber integer NOT NULL,
 l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL, l_discount numeric(15,2) NOT NULL, l_tax numeric(15,2) NOT NULL,
 l_returnflag char(1) NOT NULL, l_linestatus char(1) NOT NULL, l_shipdate date NOT NULL, l_commitdate date NOT NULL, l_receiptdate date NOT NULL,
 l_shipinstruct varchar(25) NOT NULL, l_shipmode varchar(10) NOT NULL, l_comment varchar(44) NOT NULL)"""


def as_postgres(command):
    if os.getuid() == 0:
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] + command
    return command


class Server:
    """A PostgreSQL of the bench's own; its data stay in the cache between runs."""

    def __init__(self):
        self.bin = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[0]
        self.home = pathlib.Path(os.environ.get("BENCH_PGHOME", "/tmp/weir-bench-postgres"))
        self.port = int(os.environ.get("BENCH_PGPORT", "15998"))
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self):
        data = self.home / "data"
        if not data.exists():
            self.home.mkdir(parents=True, exist_ok=True)
            if os.getuid() == 0:
                shutil.chown(self.home, "postgres")
            subprocess.run(as_postgres([str(self.bin / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]),
                           check=True, stdout=subprocess.DEVNULL)
            with open(data / "postgresql.conf", "a") as conf:
                conf.write(f"listen_addresses='127.0.0.1'\nport={self.port}\nunix_socket_directories='{self.home}'\nshared_buffers=1GB\n"
                           "max_wal_size=8GB\nmax_connections=100\nmax_prepared_transactions=16\n")
        if subprocess.run(as_postgres([str(self.bin / "pg_ctl"), "-D", str(data), "status"]), stdout=subprocess.DEVNULL).returncode == 0:
            return self
        subprocess.run(as_postgres([str(self.bin / "pg_ctl"), "-D", str(data), "-l", str(self.home / "log"), "-w", "start"]), check=True, stdout=subprocess.DEVNULL)
        return self

    def stop(self):
        subprocess.run(as_postgres([str(self.bin / "pg_ctl"), "-D", str(self.home / "data"), "-m", "fast", "-w", "stop"]), stdout=subprocess.DEVNULL)

    def sql(self, text):
        out = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", self.url, "-c", text], check=True, capture_output=True, text=True)
        return out.stdout.strip()

    def load(self, table, csv):
        if self.sql(f"SELECT to_regclass('{table}') IS NOT NULL") == "t":
            return
        self.sql(f"CREATE TABLE {table} {DDL}")
        subprocess.run(["psql", "-Xq", self.url, "-c", f"\\copy {table} from '{csv}' csv header"], check=True, stdout=subprocess.DEVNULL)
        self.sql(f"VACUUM (FREEZE, ANALYZE) {table}")


def lineitem(scale):
    """The CSV of TPC-H lineitem at a scale, generated once."""
    folder = CACHE / "tpch"
    csv = folder / f"lineitem-{scale}.csv"
    if not csv.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cargo", "xtask", "tpch", "--scale", str(scale), "--out", str(csv)], check=True, cwd=ROOT)
    return csv


def measure(command, env=None, stdout=subprocess.DEVNULL):
    """Runs a command; wall seconds, CPU seconds and peak resident bytes of it and its children."""
    full = dict(os.environ, **(env or {}))
    errors = tempfile.TemporaryFile()
    begin = time.perf_counter()
    child = subprocess.Popen(command, env=full, stdout=stdout, stderr=errors, stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        errors.seek(0)
        raise RuntimeError(f"{command[0]} ended with {child.returncode}: {errors.read().decode(errors='replace')[-600:]}")
    return {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "rss_mb": usage.ru_maxrss / 1024}


def fresh(path):
    path = pathlib.Path(path)
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def weir(pipeline, env, state):
    shutil.rmtree(state, ignore_errors=True)
    return measure([WEIR, "run", "--json", "--state-dir", str(state), str(HERE / "pipelines" / f"{pipeline}.yaml")], env)


def check_parquet(glob, rows):
    """Rows, and sums that rounding or a lost row would change."""
    code = f"import duckdb; print(duckdb.sql(\"select count(*), sum(l_extendedprice)::decimal(30,2), sum(l_orderkey) from read_parquet('{glob}')\").fetchall()[0])"
    done = subprocess.run([PY, "-c", code], capture_output=True, text=True)
    out = done.stdout or done.stderr[-300:]
    if f"({rows}," not in out:
        raise RuntimeError(f"the result has not {rows} rows: {out}")
    return out.strip()


PEERS_PG = {
    "duckdb": "import duckdb; from duckdb_extensions import import_extension; c=duckdb.connect(); import_extension('postgres_scanner', con=c); c.execute('load postgres_scanner'); c.execute(\"attach '{url}' as pg (type postgres, read_only)\"); c.execute(\"copy (select * from pg.public.{table}) to '{out}' (format parquet, compression zstd)\")",
    "connectorx": "import connectorx as cx, pyarrow.parquet as pq; t=cx.read_sql('{url}', 'select * from {table}', return_type='arrow', protocol='binary'); pq.write_table(t, '{out}', compression='zstd')",
    "adbc": "import adbc_driver_postgresql.dbapi as d, pyarrow.parquet as pq\nwith d.connect('{url}') as c, c.cursor() as k:\n k.execute('select * from {table}'); r=k.fetch_record_batch(); w=None\n for b in r:\n  w = w or pq.ParquetWriter('{out}', b.schema, compression='zstd'); w.write_batch(b)\n w.close()",
    "dlt_connectorx": "import dlt; from dlt.sources.sql_database import sql_table\np=dlt.pipeline('bench_cx', destination=dlt.destinations.filesystem('file://{dir}'), dataset_name='x', pipelines_dir='{dir}/state'); p.run(sql_table('{url}', table='{table}', backend='connectorx', backend_kwargs={{'return_type':'arrow'}}, reflection_level='full'), loader_file_format='parquet')",
    "dlt_pyarrow": "import dlt; from dlt.sources.sql_database import sql_table\np=dlt.pipeline('bench_pa', destination=dlt.destinations.filesystem('file://{dir}'), dataset_name='x', pipelines_dir='{dir}/state'); p.run(sql_table('{url}', table='{table}', backend='pyarrow', chunk_size=50000, reflection_level='full_with_precision'), loader_file_format='parquet')",
}


class Case:
    """Programs that do the same work, run in turn."""

    def __init__(self, name, reps):
        self.name, self.reps, self.programs, self.times, self.notes = name, reps, {}, {}, {}
        self.slow = set()

    def add(self, name, run, once=False):
        """`once`: a program so slow that one run says enough."""
        self.programs[name] = run
        if once:
            self.slow.add(name)

    def run(self):
        for rep in range(self.reps):
            for name, program in list(self.programs.items()):
                if rep > 0 and name in self.slow:
                    continue
                try:
                    figure = program()
                except Exception as error:  # a peer that cannot run is named, not hidden
                    self.notes[name] = str(error)[-300:]
                    print(f"  {self.name} {name}: {self.notes[name]}", file=sys.stderr)
                    del self.programs[name]
                    continue
                self.times.setdefault(name, []).append(figure)
                print(f"  {self.name} {rep + 1}/{self.reps} {name:16} {figure['wall_s']:7.2f} s  cpu {figure['cpu_s']:6.2f} s  {figure['rss_mb']:7.0f} MB", file=sys.stderr)
        return self.table()

    def table(self):
        median = lambda values: sorted(values)[len(values) // 2]
        rows = {name: {key: median([figure[key] for figure in figures]) for key in ("wall_s", "cpu_s", "rss_mb")} for name, figures in self.times.items()}
        ours = rows.get("weir", {}).get("wall_s")
        lines = [f"\n{self.name}", f"{'program':18}{'wall s':>9}{'cpu s':>9}{'peak MB':>9}{'weir/it':>9}"]
        for name, row in sorted(rows.items(), key=lambda item: item[1]["wall_s"]):
            ratio = f"{ours / row['wall_s']:.2f}" if ours else "-"
            lines.append(f"{name:18}{row['wall_s']:9.3f}{row['cpu_s']:9.2f}{row['rss_mb']:9.0f}{ratio:>9}")
        for name, note in self.notes.items():
            lines.append(f"{name:18} unavailable: {note.splitlines()[-1] if note else ''}")
        print("\n".join(lines))
        return {"case": self.name, "median": rows, "runs": self.times, "unavailable": self.notes}


def pg_to_parquet(args, server, table="lineitem", rows=None, peers=True):
    rows = rows or int(server.sql(f"SELECT count(*) FROM {table}"))
    work = CACHE / "bench-out"
    case = Case("pg_to_parquet", args.reps)
    if peers:
        case.add("floor_psql_copy", lambda: measure(["psql", "-Xq", server.url, "-c", f"COPY {table} TO STDOUT (FORMAT binary)"]))

    def ours():
        out = fresh(work / "weir")
        figure = weir("pg_to_parquet", {"BENCH_PG": server.url, "BENCH_OUT": str(out)}, work / "state")
        check_parquet(f"{out}/**/*.parquet", rows)
        return figure

    case.add("weir", ours)
    for name, code in PEERS_PG.items() if peers else ():
        if args.peers and name not in args.peers:
            continue

        def peer(name=name, code=code):
            folder = fresh(work / name)
            folder.mkdir(parents=True)
            text = code.format(url=server.url, table=table, out=folder / "out.parquet", dir=folder)
            python = str(SCANNER / "bin" / "python") if name == "duckdb" else PY
            return measure([python, "-c", text], {"RUNTIME__DLTHUB_TELEMETRY": "false"})

        case.add(name, peer, once=name.startswith("dlt"))
    if peers and (not args.peers or "sling" in args.peers):
        def sling():
            out = fresh(work / "sling" / "out.csv")
            # The package holds the program, but does not find it by itself.
            program = next(VENV.glob("lib/*/site-packages/sling_*/bin/sling-*"), None)
            env = {"SLING_BINARY": str(program)} if program else {}
            env |= {"PGBENCH": server.url + "?sslmode=disable", "SLING_CLI_TELEMETRY": "false"}
            return measure([str(VENV / "bin" / "sling"), "run", "--src-conn", "PGBENCH", "--src-stream", f"public.{table}", "--tgt-object", f"file://{out}"], env)
        case.add("sling_csv", sling, once=True)
    return case.run()


def csv_to_parquet(args, csv, rows, peers=True):
    work = CACHE / "bench-out"
    case = Case("csv_to_parquet", args.reps)

    def ours():
        out = fresh(work / "weir-csv")
        figure = weir("csv_to_parquet", {"BENCH_CSV": str(csv), "BENCH_OUT": str(out)}, work / "state")
        check_parquet(f"{out}/**/*.parquet", rows)
        return figure

    case.add("weir", ours)
    if peers:
        out = work / "peer.parquet"
        case.add("polars", lambda: measure([PY, "-c", f"import polars as pl; pl.scan_csv('{csv}', try_parse_dates=True).sink_parquet('{fresh(out)}', compression='zstd')"]))
        case.add("duckdb", lambda: measure([PY, "-c", f"import duckdb; duckdb.sql(\"copy (select * from read_csv('{csv}')) to '{fresh(out)}' (format parquet, compression zstd)\")"]))
    return case.run()


def parquet_to_pg(args, server, rows):
    work = CACHE / "bench-out"
    source = work / "weir"
    if not source.exists():
        weir("pg_to_parquet", {"BENCH_PG": server.url, "BENCH_OUT": str(fresh(source))}, work / "state")
    binary = work / "lineitem.bin"
    if not binary.exists():
        subprocess.run(["psql", "-Xq", server.url, "-c", f"\\copy lineitem to '{binary}' (format binary)"], check=True)
    case = Case("parquet_to_pg", args.reps)

    def prepare():
        server.sql("DROP TABLE IF EXISTS lineitem_copy; DROP SCHEMA IF EXISTS _weir CASCADE")
        server.sql(f"CREATE TABLE lineitem_copy {DDL}")
        server.sql("CHECKPOINT")

    def floor():
        prepare()
        return measure(["psql", "-Xq", server.url, "-c", f"\\copy lineitem_copy from '{binary}' (format binary)"])

    def ours():
        prepare()
        figure = weir("parquet_to_pg", {"BENCH_PG": server.url, "BENCH_PARQUET": str(source)}, work / "state")
        same = "SELECT count(*), sum(l_extendedprice), sum(hashtext(t::text)::bigint) FROM {} t"
        if server.sql(same.format("lineitem_copy")) != server.sql(same.format("lineitem")):
            raise RuntimeError("the copy differs from the source")
        return figure

    case.add("floor_psql_copy", floor)
    case.add("weir", ours)
    return case.run()


def growth(args, server):
    results = {}
    for scale in (0.1, 1, 3):
        csv = lineitem(scale)
        table = "lineitem" if scale == 1 else f"lineitem_{str(scale).replace('.', '_')}"
        server.load(table, csv)
        # All scales start warm.
        server.sql(f"SELECT sum(l_orderkey) FROM {table}")
        text = (HERE / "pipelines" / "pg_to_parquet.yaml").read_text().replace("public.lineitem", f"public.{table}")
        spec = CACHE / "bench-out" / f"growth-{scale}.yaml"
        spec.parent.mkdir(parents=True, exist_ok=True)
        spec.write_text(text)
        figures = []
        for _ in range(args.reps):
            out = fresh(CACHE / "bench-out" / "growth")
            shutil.rmtree(CACHE / "bench-out" / "state", ignore_errors=True)
            figures.append(measure([WEIR, "run", "--json", "--state-dir", str(CACHE / "bench-out" / "state"), str(spec)], {"BENCH_PG": server.url, "BENCH_OUT": str(out)}))
        figures.sort(key=lambda figure: figure["wall_s"])
        results[scale] = figures[len(figures) // 2]
        print(f"growth scale {scale}: {results[scale]['wall_s']:.2f} s, {results[scale]['rss_mb']:.0f} MB", flush=True)
    for scale in (0.1, 3):
        linear = results[scale]["wall_s"] / scale / results[1]["wall_s"]
        flat = results[scale]["rss_mb"] / results[1]["rss_mb"]
        print(f"growth {scale} against 1: wall per row x {linear:.2f}, memory x {flat:.2f}")
    return {"case": "growth", "median": {str(scale): figure for scale, figure in results.items()}}


def start(args):
    spec = HERE / "pipelines" / "hundred_lines.yaml"
    case = Case("start", max(args.reps, 10))
    case.add("weir --version", lambda: measure([WEIR, "--version"]))
    case.add("weir check", lambda: measure([WEIR, "check", str(spec)]))
    topic = HERE / "pipelines" / "compile_topic.yaml"
    for target in ("seatunnel", "flink-sql", "spark", "kafka-connect"):
        case.add(f"weir compile {target}", lambda target=target: measure([WEIR, "compile", str(topic), "--target", target]))
    return case.run()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("case", nargs="?", default="all")
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--peers", type=lambda text: text.split(","), default=None)
    args = parser.parse_args()
    for folder, wanted in ((VENV, "requirements.txt"), (SCANNER, "requirements-scanner.txt")):
        if not folder.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", "-r", str(HERE / wanted)], check=True)
    chosen = lambda name: args.case in (name, "all")
    results = []
    server = None
    try:
        if any(chosen(name) for name in ("pg_to_parquet", "parquet_to_pg", "growth")):
            server = Server().start()
        scale = int(args.scale) if args.scale == int(args.scale) else args.scale
        if not (args.case == "start"):
            csv = lineitem(scale)
            rows = sum(chunk.count(b"\n") for chunk in iter(lambda f=open(csv, "rb"): f.read(1 << 24), b"")) - 1
        if server:
            server.load("lineitem", csv)
        if chosen("pg_to_parquet"):
            results.append(pg_to_parquet(args, server, rows=rows))
        if chosen("csv_to_parquet"):
            results.append(csv_to_parquet(args, csv, rows))
        if chosen("parquet_to_pg"):
            results.append(parquet_to_pg(args, server, rows))
        if chosen("growth"):
            results.append(growth(args, server))
        if chosen("start"):
            results.append(start(args))
    finally:
        if server:
            server.stop()
    machine = {
        "cpus": os.cpu_count(), "processor": next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine()),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1), "kernel": platform.release(), "load": os.getloadavg()[0],
    }
    versions = subprocess.run([str(VENV / "bin" / "pip"), "freeze"], capture_output=True, text=True).stdout.split()
    scanner = subprocess.run([str(SCANNER / "bin" / "pip"), "freeze"], capture_output=True, text=True).stdout.split()
    keep = [line for line in scanner if line.startswith("duckdb_extension_postgres") or line.startswith("duckdb-extension-postgres")]
    keep += [line for line in versions if line.split("==")[0].lower() in ("duckdb", "polars", "pyarrow", "connectorx", "adbc-driver-postgresql", "dlt", "sling")]
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H%MZ")
    out = HERE / "results" / f"{args.case}-{stamp}.json"
    out.write_text(json.dumps({"at": stamp, "machine": machine, "peers": keep, "results": results}, indent=1, default=str) + "\n")
    print(f"\nkept in {out.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
