//! Where secrets enter.

use std::io::{Read, Write};

use serde_json::{Value, json};
use weir_testkit::{HttpFixture, OtelCollector, PostgresServer, VaultServer};

use super::Outside;
use super::program::Program;
use super::search::Canaries;

/// Those that the other side of a pipeline must see.
pub const ARRIVE: [&str; 17] = [
    "header of a source",
    "password of basic auth",
    "stored secret",
    "secret in Vault",
    "entry of credentials_ref",
    "secret in a file",
    "default of an environment reference",
    "header of a stored connection",
    "key in a stored connection's URL",
    "api_key in a URL",
    "token in a URL",
    "api key in a parameter",
    "secret of an OAuth client",
    "token that an OAuth server gave",
    "token of a sink",
    "secret at the cut of an error",
    "header at the cut of an error",
];

/// Settings with secrets: Vault's token, keys, addresses with logins.
pub fn environment(
    canaries: &mut Canaries,
    marker: &str,
    vault: &VaultServer,
    collector: &OtelCollector,
    hooks: &HttpFixture,
) -> Vec<(&'static str, String)> {
    let token = canaries.plant("VAULT_TOKEN");
    vault.call("POST", "auth/token/create", json!({"id": token, "policies": ["root"]})).unwrap();
    // 32 bytes.
    let seal = canaries.plant("WEIR_SEAL_KEY").repeat(2);
    let login = |url: String, user: &str| url.replacen("://", &format!("://{user}@"), 1);
    let tracing = format!("u:{}", canaries.plant("TRACING_ENDPOINT"));
    vec![
        ("WEIR_DATA", format!("data-{marker}")),
        ("RUNNER_ID", format!("runner-{marker}")),
        ("LOG_LEVEL", "debug".into()),
        ("LOG_FORMAT", "json".into()),
        ("METRICS_PORT", weir_testkit::process::free_port().unwrap().to_string()),
        ("TRACING_ENDPOINT", login(collector.http_endpoint(), &tracing)),
        ("ALERT_WEBHOOK_URL", format!("{}/alert?token={}", hooks.url(), canaries.plant("ALERT_WEBHOOK_URL"))),
        ("ALERT_WEBHOOK_KEY", canaries.plant("ALERT_WEBHOOK_KEY")),
        ("MINIO_ENDPOINT", format!("http://127.0.0.1:9/{marker}")),
        ("MINIO_ACCESS_KEY", "minio".into()),
        ("MINIO_SECRET_KEY", canaries.plant("MINIO_SECRET_KEY")),
        ("VAULT_ADDRESS", vault.address().into()),
        ("VAULT_TOKEN", token),
        ("WEIR_SEAL_KEY", format!("{}A=", &seal[..42])),
        ("WEIR_EGRESS_ALLOW", "127.0.0.1".into()),
        // Children inherit this one, and not the other.
        ("LANG", marker.into()),
        ("SOMEBODY_ELSES_PASSWORD", canaries.plant("environment of the program")),
    ]
}

/// GET without a token; head and body.
pub fn plain_get(address: &str, path: &str) -> Vec<u8> {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).unwrap();
    raw
}

/// What was planted through the API.
pub struct Planted<'a> {
    program: &'a Program,
    canaries: &'a mut Canaries,
    marker: &'a str,
    /// Jobs, and how their runs must end.
    pub jobs: Vec<(String, &'static str)>,
}

impl<'a> Planted<'a> {
    pub fn new(program: &'a Program, canaries: &'a mut Canaries, marker: &'a str) -> Self {
        Self { program, canaries, marker, jobs: Vec::new() }
    }

    fn post(&self, path: &str, body: Value) -> Value {
        self.program.ask("POST", path, &body).json(201)
    }

    /// Files that hold a secret because somebody put them there.
    pub fn files(&mut self) {
        let data = self.program.folder.join(format!("data-{}", self.marker));
        let files = data.join("tenants/default/files");
        std::fs::create_dir_all(&files).unwrap();
        std::fs::create_dir_all(data.join("specs")).unwrap();
        std::fs::write(files.join("own-secret.txt"), self.canaries.plant("secret in a file")).unwrap();
        std::fs::write(files.join("in.csv"), "id,name\n1,a\n2,b\n").unwrap();
        let password = self.canaries.plant("spec file of the runner's API");
        let spec = format!(
            "pipeline: own_{}\nsource: {{postgres: {{url: \"postgres://u:{password}@127.0.0.1:9/db\", table: t}}}}\nsink: {{file: {{path: own}}}}\n",
            self.marker
        );
        std::fs::write(data.join("specs/own-spec.yaml"), spec).unwrap();
        let answer = self.program.ask("POST", "/jobs/execute?spec_path=own-spec.yaml", &Value::Null);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }

    /// Secrets, connections and their tests.
    pub fn stored(&mut self, outside: &Outside, vault: &VaultServer, postgres: &PostgresServer) {
        let put = |name: &str, value: String| {
            let answer = self.program.ask("PUT", &format!("/api/v1/secrets/{name}"), &json!({ "value": value }));
            assert_eq!(answer.status, 204);
        };
        put("api_token", self.canaries.plant("stored secret"));
        put("odd", self.canaries.plant_odd("password of basic auth"));
        let (value, entry) = (self.canaries.plant("secret in Vault"), self.canaries.plant("entry of credentials_ref"));
        vault.put(&format!("canary-{}", self.marker), json!({"key": value, "entry": entry})).unwrap();

        let url = outside.server.url();
        let shop = json!({"name": "shop", "kind": "http", "options": {
            "base_url": format!("{url}/refused/{}?access_token={}", self.marker, self.canaries.plant("key in a stored connection's URL")),
            "headers": {"X-Api-Key": self.canaries.plant("header of a stored connection")}, "max_retries": 0}});
        // The same request again: the answer is kept, its body is not.
        let again = [("content-type", "application/json"), ("idempotency-key", "shop-1")];
        let first = self.program.ask_with("POST", "/api/v1/connections", &again, &shop.to_string()).json(201);
        let second = self.program.ask_with("POST", "/api/v1/connections", &again, &shop.to_string()).json(201);
        assert_eq!(first, second);
        let other = shop.to_string().replace("shop", &self.canaries.plant("body of a refused idempotent request"));
        self.program.ask_with("POST", "/api/v1/connections", &again, &other).json(422);
        let (with_url, with_password) =
            (self.canaries.plant("URL of a stored connection"), self.canaries.plant("password of a connection"));
        let databases = [
            json!({"name": "crm", "kind": "postgres", "options": {"url": postgres.password_url("postgres", &with_url)}}),
            json!({"name": "erp", "kind": "postgres", "options": {"host": "127.0.0.1", "port": postgres.port(), "database": self.marker,
                "user": weir_testkit::postgres::SCRAM_ROLE, "password": with_password}}),
        ];
        let mut ids = vec![first["id"].as_str().unwrap().to_owned()];
        ids.extend(databases.map(|body| self.post("/api/v1/connections", body)["id"].as_str().unwrap().to_owned()));
        for id in ids {
            let tested = self.program.ask("POST", &format!("/api/v1/connections/{id}/test"), &Value::Null).json(200);
            assert_eq!(tested["ok"], false, "{tested}");
        }
    }

    /// Who is told: keys of signatures and secrets in addresses, one of which does not exist.
    pub fn subscriptions(&mut self, hooks: &HttpFixture) {
        let asked = format!("{}/subscribed?token={}", hooks.url(), self.canaries.plant("parameter of a subscription's address"));
        let path = self.canaries.plant("path of a subscription's address");
        let nowhere = format!("http://{}.invalid/hook/{path}", self.marker);
        for (url, name) in [(asked, "key of a subscription"), (nowhere, "key of another subscription")] {
            let key = self.canaries.plant(name);
            let body = json!({"url": url, "key": key}).to_string();
            // The one answer that shows the key.
            let headers = [("content-type", "application/json"), ("idempotency-key", key.split_at(6).0)];
            let (answer, _) = self.program.quietly("POST", "/api/v1/subscriptions", &headers, &body);
            assert_eq!(answer.json(201)["key"], key);
            self.program.ask_with("POST", "/api/v1/subscriptions", &headers, &body).json(201);
        }
    }

    fn job(&mut self, name: &str, spec: &str, ends: &'static str) -> String {
        let body = json!({"spec": spec, "name": format!("{name} {}", self.marker), "retry": {"max_attempts": 1}});
        let made = self.post("/api/v1/jobs", body);
        let id = made["id"].as_str().unwrap().to_owned();
        self.jobs.push((id.clone(), ends));
        id
    }

    /// A source of rows at the other side, its options as YAML, and a file.
    fn http(&mut self, name: &str, ends: &'static str, options: &str) -> String {
        let name = &name.replace('-', "_");
        let spec = format!(
            "pipeline: {name}\ndescription: {}\nsource:\n  http: {{{options}, records: data, max_retries: 1, retry_base_ms: 1}}\nsink:\n  file: {{path: out-{name}, format: ndjson}}\n",
            self.marker
        );
        self.job(name, &spec, ends)
    }

    /// Jobs that use a secret and end in each way.
    pub fn jobs(&mut self, outside: &Outside, postgres: &PostgresServer) {
        let (url, mark) = (outside.server.url(), self.marker.to_owned());
        let at = |path: &str| format!("url: \"{url}/{path}/{mark}\"");
        let secret = self.canaries.plant("header of a source");
        let options =
            |path: &str, key: &str| format!("{}, headers: {{Authorization: \"Bearer {key}\", Cookie: \"sid={key}\"}}", at(path));
        self.http("header-ok", "succeeded", &options("ok", &secret));
        let failing = self.http("header", "failed", &options("failing", &secret));
        self.http("header-refused", "failed", &options("refused", &secret));
        self.http("basic", "failed", &format!("{}, auth: {{basic: {{user: me, password: \"{{{{odd}}}}\"}}}}", at("refused")));
        // Refused, but not before it was read.
        let login = url.replacen("://", &format!("://u:{}@", self.canaries.plant("password in a source's URL")), 1);
        let spec = format!(
            "pipeline: login\nsource:\n  http: {{url: \"{login}/refused/{mark}\"}}\nsink:\n  file: {{path: out-login}}\n"
        );
        self.program.ask("POST", "/api/v1/jobs", &json!({"spec": spec})).json(422);
        for (name, reference) in [
            ("stored", "{{api_token}}".to_owned()),
            ("vault", format!("vault://secret/canary-{mark}#key")),
            ("file", "file://own-secret.txt".to_owned()),
            ("default", format!("${{NOT_SET:-{}}}", self.canaries.plant("default of an environment reference"))),
            ("missing", "{{no_such_secret}}".to_owned()),
        ] {
            let options = |path: &str| format!("{}, auth: {{bearer: {{token: \"{reference}\"}}}}", at(path));
            self.http(name, "failed", &options("refused"));
            if name != "missing" {
                self.http(&format!("{name}-long"), "failed", &options("long"));
                self.http(&format!("{name}-ok"), "succeeded", &options("ok"));
            }
        }
        let secret = self.canaries.plant("secret at the cut of an error");
        self.http("cut", "failed", &format!("{}, auth: {{bearer: {{token: \"{secret}\"}}}}", at("long")));
        let secret = self.canaries.plant("header at the cut of an error");
        self.http("header-cut", "failed", &options("long", &secret));
        let keys = (self.canaries.plant("api_key in a URL"), self.canaries.plant("token in a URL"));
        for (name, path, ends) in [
            ("query-ok", "ok", "succeeded"),
            ("query", "refused", "failed"),
            ("paged", "paged", "failed"),
            ("redirect", "redirect", "failed"),
        ] {
            let paging = if path == "paged" { ", pagination: {next_url: {path: next}}, sample_pages: 1" } else { "" };
            let options = format!("url: \"{url}/{path}/{mark}?api_key={}&token={}&size=5\"{paging}", keys.0, keys.1);
            self.http(name, ends, &options);
        }
        let key = self.canaries.plant_odd("api key in a parameter");
        let key = json!(key).to_string();
        self.http("parameter", "failed", &format!("{}, auth: {{api_key: {{name: k, in: query, value: {key}}}}}", at("refused")));
        let secret = self.canaries.plant("secret of an OAuth client");
        let client = |tokens: &str, path: &str| {
            format!(
                "{}, auth: {{oauth2_client_credentials: {{token_url: \"{url}/{tokens}\", client_id: me, client_secret: {secret}, client_auth: body}}}}",
                at(path)
            )
        };
        self.http("oauth", "failed", &client("token", "refused"));
        self.http("oauth-refused", "failed", &client("refused", "ok"));
        self.http("connection", "failed", "connection: shop, path: \"/x\"");
        let spec = format!(
            "pipeline: ref\ncredentials_ref: vault://secret/canary-{mark}\nsource:\n  http: {{{}, auth: {{bearer: {{token: \"{{{{entry}}}}\"}}}}, records: data}}\nsink:\n  file: {{path: out-ref, format: ndjson}}\n",
            at("refused")
        );
        self.job("ref", &spec, "failed");

        let (one, two) = (self.canaries.plant("password of a source"), self.canaries.plant("password in a database's URL"));
        let login = format!(
            "host: 127.0.0.1, port: {}, database: {mark}, user: {}, password: {one}",
            postgres.port(),
            weir_testkit::postgres::SCRAM_ROLE
        );
        let target = format!("url: \"{}\"", postgres.password_url("postgres", &two));
        for (name, secret, options) in [("postgres", one, login), ("postgres_url", two, target)] {
            let spec = format!(
                "# password: {secret}\npipeline: {name}\ndescription: not {secret}\nsource:\n  postgres: {{{options}, table: t}} # {secret}\nsink:\n  file: {{path: out-{name}}}\n"
            );
            self.job(name, &spec, "failed");
        }
        let (keys, salt) = (self.canaries.plant("secret key of an object store"), self.canaries.plant("salt of a mask"));
        let spec = format!(
            "pipeline: s3\nsource:\n  s3: {{path: \"b/{mark}.csv\", endpoint: \"{url}\", access_key: minio, secret_key: {keys}}}\nsink:\n  file: {{path: out-s3}}\n"
        );
        self.job("s3", &spec, "failed");
        let spec = format!(
            "pipeline: mask\nsource: {{file: {{path: in.csv}}}}\ntransforms:\n  - mask: {{columns: {{name: {{hash: {{salt: {salt}}}}}}}}}\nsink: {{file: {{path: out-mask, format: ndjson}}}}\n"
        );
        self.job("mask", &spec, "succeeded");
        let token = self.canaries.plant("token of a sink");
        let spec = format!(
            "pipeline: sink\nsource: {{file: {{path: in.csv}}}}\nsink:\n  http: {{{}, auth: {{bearer: {{token: {token}}}}}, max_retries: 0}}\n",
            at("refused")
        );
        self.job("sink", &spec, "failed");

        // Another version of a job with another secret, and back; a copy; a rule that fires.
        let path = format!("/api/v1/jobs/{failing}");
        let body = json!({"spec": format!("pipeline: header\nsource:\n  http: {{{}, records: data, max_retries: 0}}\nsink:\n  file: {{path: out}}\n", options("failing", &self.canaries.plant("secret of another version"))), "name": format!("header {mark}")});
        assert_eq!(self.program.ask("PUT", &path, &body).status, 200);
        assert_eq!(self.program.ask("POST", &format!("{path}/rollback"), &json!({"version": 1})).status, 200);
        self.post(&format!("{path}/clone"), json!({"name": format!("copy {mark}")}));
        let rule = json!({"metric": "error_rate", "threshold": 0.0, "window": "1h", "severity": "critical"});
        assert_eq!(self.program.ask("POST", &format!("{path}/alerts"), &rule).status, 200);
    }

    /// Parameters of templates.
    pub fn templates(&mut self) {
        let instantiate = |body: Value, key: &str| {
            let headers = [("content-type", "application/json"), ("idempotency-key", key)];
            self.program.ask_with("POST", "/api/v1/templates/api_to_lake/instantiate", &headers, &body.to_string())
        };
        let (login, key) = (self.canaries.plant("password in a parameter"), self.canaries.plant("api_key in a parameter"));
        let urls = [
            format!("https://u:{login}@example.org/{}", self.marker),
            format!("https://example.org/{}?api_key={key}", self.marker),
        ];
        let detail = self.program.get("/api/v1/templates/api_to_lake");
        let mut parameters = json!({});
        for parameter in detail["template"]["parameters"].as_array().unwrap() {
            let name = parameter["name"].as_str().unwrap();
            if name != "url" && parameter["required"] == true {
                parameters[name] = parameter["example"].clone();
            }
        }
        for (number, url) in urls.iter().chain(&urls).enumerate() {
            parameters["url"] = json!(url);
            let answer = instantiate(json!({"parameters": parameters, "create_job": number < 2}), &format!("template-{number}"));
            assert_eq!(answer.status, 422, "what is filled in is shown: no secret may be in it");
        }
        let password = self.canaries.plant("unknown parameter of a template");
        instantiate(json!({"parameters": {"url": [password], "password": password}}), "template-3");
    }

    /// Texts that cannot be read, with a secret in the middle.
    pub fn broken_bodies(&mut self) {
        let secret = self.canaries.plant("body that is refused");
        let spec = |options: &str| {
            format!("pipeline: {}\nsource:\n  postgres: {{{options}}}\nsink:\n  file: {{path: o}}\n", self.marker)
        };
        let specs = [
            spec(&format!("password: {secret}, table: t")),
            spec(&format!("password: {secret}, tabel: t")),
            spec(&format!("password: [{secret}], table: t")),
            spec(&format!("pasword: {secret}, table: t")),
            spec(&format!("port: \"{secret}\", password: {secret}, table: t")),
            spec(&format!("ssl_mode: \"{secret}\", password: {secret}, table: t")),
            spec(&format!("url: \"mysql://u:{secret}@h/db\", table: t")),
            spec(&format!("url: \"postgres://u:{secret}@h:port/db?sslmode={secret}\", table: t")),
            spec(&format!("password: \"${{{secret}\", table: t")),
            spec(&format!("password: \"{secret}, table: t")),
            spec(&format!("password: {secret}")) + "  - a: b\n\t: {",
            format!("pipeline: p\npassword: {secret}\n  x: y: z\n {secret}: ["),
            format!("{{\"pipeline\": \"p\", \"source\": {{\"postgres\": {{\"password\": \"{secret}\", }} \"{secret}"),
            format!("name: {}\nsource: &a {{password: {secret}}}\nsource: *b\n", self.marker),
            format!("\"{secret}"),
        ];
        for text in specs {
            for path in ["/api/v1/pipelines/validate", "/api/v1/jobs"] {
                let yaml = [("content-type", "application/yaml")];
                let as_it_is = self.program.ask_with("POST", path, &yaml, &text);
                let inside = self.program.ask("POST", path, &json!({"spec": text, "name": self.marker}));
                assert!(as_it_is.status < 500 && inside.status < 500, "{text}");
                self.program.ask_with("POST", path, &[("content-type", "application/json")], &text);
            }
        }
        for body in [
            json!({"name": "x", "kind": "postgres", "options": {"hots": secret}}),
            json!({"name": "x", "kind": "postgres", "options": {"password": [secret]}}),
            json!({"name": "x", "kind": "postgres", "options": {"port": secret, "password": secret}}),
            json!({"name": "x", "kind": "postgres", "options": {"url": format!("mysql://u:{secret}@h")}}),
            json!({"name": "x", "kind": "http", "options": {"auth": {"bearer": {"tokne": secret}}}}),
            json!({"name": "x", "kind": "http", "options": {"auth": {"bearer": secret}}}),
            json!({"name": "x", "kind": "http", "options": secret}),
            json!({"name": "x", "kind": "http", "password": secret}),
        ] {
            assert!((400..500).contains(&self.program.ask("POST", "/api/v1/connections", &body).status), "{body}");
        }
        for (method, path, body) in [
            ("PUT", "/api/v1/secrets/x".to_owned(), json!({"valeu": secret})),
            ("PUT", "/api/v1/secrets/x".to_owned(), json!({"value": [secret]})),
            ("POST", "/api/v1/subscriptions".to_owned(), json!({"url": "x", "key": secret})),
            ("POST", "/api/v1/subscriptions".to_owned(), json!({"url": format!("https://u:{secret}@h/x")})),
            ("POST", "/api/v1/tokens".to_owned(), json!({"token": secret})),
            ("POST", "/api/v1/jobs".to_owned(), json!({"spec": 5, "password": secret})),
        ] {
            assert!((400..500).contains(&self.program.ask(method, &path, &body).status), "{path} {body}");
        }
    }

    /// Secrets of the requests themselves.
    pub fn requests(&mut self) {
        let principal = self.program.get("/api/v1/principals")["items"][0]["id"].as_str().unwrap().to_owned();
        let body = json!({"principal_id": principal, "name": self.marker}).to_string();
        let headers = [("content-type", "application/json"), ("idempotency-key", "token-1")];
        // The one answer that shows it.
        let (answer, _) = self.program.quietly("POST", "/api/v1/tokens", &headers, &body);
        let token = answer.json(201)["token"].as_str().unwrap().to_owned();
        self.canaries.known("token of the API", &token);
        self.program.ask_with("POST", "/api/v1/tokens", &headers, &body);
        let bearer = format!("Bearer {token}");
        assert_eq!(self.program.ask_with("GET", "/api/v1/jobs", &[("authorization", &bearer)], "").status, 200);
        let secret = self.canaries.plant("header of a request");
        for value in [format!("Bearer weir_{secret}"), format!("Bearer {secret}"), format!("Basic {secret}"), secret.clone()] {
            assert_eq!(self.program.ask_with("GET", "/api/v1/jobs", &[("authorization", &value)], "").status, 401);
        }
        for header in ["cookie", "x-api-key", "traceparent", "if-match", "accept"] {
            self.program.ask_with("GET", "/api/v1/jobs", &[(header, &secret)], "");
        }
        let secret = self.canaries.plant("query of a request");
        for path in ["/api/v1/jobs?token=", "/api/v1/jobs?limit=", "/api/v1/runs?since=", "/nowhere?api_key=", "/health?token="] {
            self.program.ask("GET", &format!("{path}{secret}"), &Value::Null);
        }
    }
}
