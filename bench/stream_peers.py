"""The peers of `stream.py`: Flink SQL and SeaTunnel, each on the same two cores, out of the same topic, to its end.

Both are given what a tuned small installation has: two slots, two parallel readers, 1.5 GB of heap for the work. The clock runs from the job's submission to its end,
not over the start of the cluster. CPU seconds are those of all of the peer's processes in that time, memory the sum of their peaks.
"""
import contextlib, json, os, pathlib, re, shutil, socket, subprocess, time, urllib.error, urllib.request

from run import CACHE, fresh

EXPORTS = ["java.base/sun.net.util", "java.rmi/sun.rmi.registry", "java.security.jgss/sun.security.krb5", "java.base/jdk.internal.ref"]
OPENS = ["java.base/" + package for package in ("java.lang", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.lang.reflect", "java.text", "java.time", "java.util", "java.util.concurrent",
                                                "java.util.concurrent.atomic", "java.util.concurrent.locks")] + ["java.management/sun.management", "jdk.management/com.sun.management.internal"]
REACH = [f"--add-exports={name}=ALL-UNNAMED" for name in EXPORTS] + [f"--add-opens={name}=ALL-UNNAMED" for name in OPENS]
LOG = "rootLogger.level = {level}\nrootLogger.appenderRef.c.ref = C\nappender.c.type = Console\nappender.c.name = C\nappender.c.layout.type = PatternLayout\nappender.c.layout.pattern = %d %p %c{{1}} %m%n\n"
PATIENCE = 1200


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(url, body=None, method=None):
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{url}: {error.code} {error.read().decode(errors='replace')[-1500:]}") from None


def until(what, done, seconds=180):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            if (found := done()):
                return found
        time.sleep(0.1)
    raise RuntimeError(f"{what}: not within {seconds} s")


def jar(coordinate):
    """A jar of Maven Central, kept in the cache."""
    group, artifact, version = coordinate.split(":")[:3]
    kept = CACHE / "bench-jars" / f"{artifact}-{version}.jar"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mvn", "-B", "-q", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy", f"-Dartifact={group}:{artifact}:{version}:jar", f"-DoutputDirectory={kept.parent}"], check=True)
    return kept


class Processes:
    """Java processes with what they cost."""

    def __init__(self, work):
        self.work, self.all = fresh(work), []
        self.work.mkdir(parents=True)

    def start(self, name, words, heap, path, cwd=None, env=None):
        log = open(self.work / f"{name}.log", "wb")
        self.all.append(subprocess.Popen(["java", f"-Xmx{heap}", "-XX:+UseG1GC", *REACH, "-cp", path, *words], cwd=cwd or self.work, stdout=log, stderr=log, env=dict(os.environ, **(env or {}))))

    def cpu(self):
        ticks = os.sysconf("SC_CLK_TCK")
        fields = [pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split() for process in self.all]
        return sum(int(of[11]) + int(of[12]) for of in fields) / ticks

    def memory(self):
        found = [re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{process.pid}/status").read_text()) for process in self.all]
        return sum(int(of[1]) for of in found if of) / 1024

    def measured(self, run):
        before, begin = self.cpu(), time.perf_counter()
        run()
        return {"wall_s": time.perf_counter() - begin, "cpu_s": self.cpu() - before, "rss_mb": self.memory()}

    def stop(self):
        for process in reversed(self.all):
            process.kill()
            process.wait()


class Flink(Processes):
    """A session cluster with two slots and its SQL gateway."""

    def __enter__(self):
        rest, gateway, rpc = free_port(), free_port(), free_port()
        for folder in ("conf", "tmp", "checkpoints"):
            (self.work / folder).mkdir()
        (self.work / "conf/config.yaml").write_text(f"""
jobmanager: {{rpc: {{address: 127.0.0.1, port: {rpc}}}, bind-host: 127.0.0.1, memory: {{process: {{size: 1024m}}}}}}
taskmanager:
  bind-host: 127.0.0.1
  host: 127.0.0.1
  numberOfTaskSlots: 2
  cpu: {{cores: 2.0}}
  memory: {{task: {{heap: {{size: 1024m}}, off-heap: {{size: 0m}}}}, network: {{min: 96m, max: 96m}}, managed: {{size: 256m}}, framework: {{heap: {{size: 128m}}, off-heap: {{size: 128m}}}}, jvm-metaspace: {{size: 256m}}, jvm-overhead: {{min: 128m, max: 128m}}}}
parallelism: {{default: 2}}
rest: {{address: 127.0.0.1, bind-address: 127.0.0.1, port: {rest}, bind-port: "{rest}"}}
io: {{tmp: {{dirs: {self.work}/tmp}}}}
execution: {{checkpointing: {{interval: 5s, dir: "file://{self.work}/checkpoints"}}}}
sql-gateway: {{endpoint: {{rest: {{address: 127.0.0.1, bind-address: 127.0.0.1, port: {gateway}, bind-port: {gateway}}}}}}}
""")
        (self.work / "conf/log4j2.properties").write_text(LOG.format(level="WARN"))
        hadoop = sorted(CACHE.glob("spark-*/site/pyspark/jars/hadoop-client-*.jar"))
        extra = [jar("org.apache.flink:flink-sql-parquet:2.3.0"), *hadoop]
        path = ":".join([f"{CACHE}/flink-2.3.0/lib/*", f"{CACHE}/flink-connectors-2.3.0/*", *map(str, extra)])
        logging, conf = f"-Dlog4j.configurationFile={self.work}/conf/log4j2.properties", str(self.work / "conf")
        start = lambda name, heap, kind, *words: self.start(name, [kind, *words], heap, path, env={"FLINK_CONF_DIR": conf, "JAVA_TOOL_OPTIONS": logging})
        start("manager", "448m", "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint", "--configDir", conf)
        self.rest, self.gateway = f"http://127.0.0.1:{rest}", f"http://127.0.0.1:{gateway}/v1"
        until("Flink's JobManager", lambda: ask(f"{self.rest}/overview"))
        start("worker", "1536m", "org.apache.flink.runtime.taskexecutor.TaskManagerRunner", "--configDir", conf)
        until("Flink's TaskManager", lambda: ask(f"{self.rest}/overview")["slots-total"] == 2)
        start("gateway", "384m", "org.apache.flink.table.gateway.SqlGateway")
        until("Flink's SQL gateway", lambda: ask(f"{self.gateway}/info"))
        self.session = ask(f"{self.gateway}/sessions", {})["sessionHandle"]
        return self

    def __exit__(self, *_):
        self.stop()

    def statement(self, text):
        operation = ask(f"{self.gateway}/sessions/{self.session}/statements", {"statement": text})["operationHandle"]
        place = f"{self.gateway}/sessions/{self.session}/operations/{operation}"
        until(text[:40], lambda: ask(f"{place}/status")["status"] in ("FINISHED", "ERROR"))
        return ask(f"{place}/result/0?rowFormat=JSON")

    def job(self, insert):
        """Runs a bounded INSERT to its end."""
        answer = self.statement(insert)
        job = answer["results"]["data"][0]["fields"][0] if not answer.get("jobID") else answer["jobID"]
        state = until("the job of Flink", lambda: (state := ask(f"{self.rest}/jobs/{job}")["state"]) in ("FINISHED", "FAILED", "CANCELED") and state, PATIENCE)
        if state != "FINISHED":
            raise RuntimeError(f"Flink's job ended as {state}: {json.dumps(ask(f'{self.rest}/jobs/{job}/exceptions'))[:1500]}")


class SeaTunnel(Processes):
    """One node of Zeta."""

    def __enter__(self):
        port, home, installed = free_port(), self.work, CACHE / "seatunnel-2.3.4"
        for name in ("lib", "starter"):
            (home / name).symlink_to(installed / name)
        shutil.copytree(installed / "connectors", home / "connectors", symlinks=True)
        shutil.copy(jar("org.apache.seatunnel:connector-kafka:2.3.4"), home / "connectors")
        with open(home / "connectors/plugin-mapping.properties", "a") as mapping:
            mapping.write("seatunnel.source.Kafka = connector-kafka\nseatunnel.sink.Kafka = connector-kafka\n")
        config = home / "config"
        config.mkdir()
        (config / "seatunnel.yaml").write_text(f"""seatunnel: {{engine: {{history-job-expire-minutes: 1440, backup-count: 0, queue-type: blockingqueue, slot-service: {{dynamic-slot: true}},
  checkpoint: {{interval: 5000, timeout: 600000, storage: {{type: localfile, max-retained: 3, plugin-config: {{namespace: {home}/checkpoints/}}}}}}}}}}\n""")
        (config / "hazelcast.yaml").write_text(f"""hazelcast:
  cluster-name: weir
  network:
    public-address: 127.0.0.1
    rest-api: {{enabled: true, endpoint-groups: {{CLUSTER_WRITE: {{enabled: true}}, DATA: {{enabled: true}}}}}}
    join: {{tcp-ip: {{enabled: true, member-list: ["127.0.0.1:{port}"]}}}}
    port: {{auto-increment: false, port: {port}}}
  properties: {{hazelcast.logging.type: log4j2, hazelcast.operation.generic.thread.count: 4, hazelcast.phone.home.enabled: false}}
""")
        (config / "hazelcast-client.yaml").write_text(f"hazelcast-client: {{cluster-name: weir, network: {{cluster-members: ['127.0.0.1:{port}']}}}}\n")
        (config / "log4j2.properties").write_text(LOG.format(level="INFO"))
        settings = [f"-DSEATUNNEL_HOME={home}", f"-Dseatunnel.config={config}/seatunnel.yaml", f"-Dhazelcast.config={config}/hazelcast.yaml", f"-Dlog4j2.configurationFile={config}/log4j2.properties"]
        self.start("node", [*settings, "org.apache.seatunnel.core.starter.seatunnel.SeaTunnelServer"], "1536m", f"{home}/lib/*:{home}/starter/seatunnel-starter.jar:{home}/starter/logging/*",
                   cwd=home, env={"SEATUNNEL_HOME": str(home)})
        self.url = f"http://127.0.0.1:{port}/hazelcast/rest/maps"
        until("SeaTunnel", lambda: isinstance(ask(f"{self.url}/running-jobs"), list))
        return self

    def __exit__(self, *_):
        self.stop()

    def job(self, name, source, sink):
        """Runs a job in its batch mode, which ends where the topic ended when it began."""
        config = {"env": {"job.mode": "BATCH", "parallelism": 2, "checkpoint.interval": 5000}, "source": [{**source, "result_table_name": "rows"}], "transform": [], "sink": [{**sink, "source_table_name": ["rows"]}]}
        job = ask(f"{self.url}/submit-job?jobName={name}", config)["jobId"]

        def ended():
            for state in ("FINISHED", "FAILED", "CANCELED"):
                if any(str(of.get("jobId")) == str(job) for of in ask(f"{self.url}/finished-jobs/{state}") or []):
                    return state

        if (state := until("the job of SeaTunnel", ended, PATIENCE)) != "FINISHED":
            raise RuntimeError(f"SeaTunnel's job ended as {state}, see {self.work}/node.log")
