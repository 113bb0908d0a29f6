//! Tokens of OAuth 2: from an issuer that the test plays, before a real broker that checks them.

use pulsar::message::proto::base_command::Type;
use pulsar::message::proto::{BaseCommand, CommandConnected};
use weir_connect::guard::{Files, Policy};
use weir_connect::{Kind, guard};
use weir_testkit::{HttpFixture, Reply};

use super::faults::answering;
use super::*;

/// Where tokens are given, and the client's key.
fn issuer(tokens: impl Fn(usize) -> Reply + Send + Sync + 'static) -> HttpFixture {
    let http = HttpFixture::start().unwrap();
    let configuration = json!({"issuer": "test", "token_endpoint": format!("{}/token", http.url())});
    http.on("/realm/.well-known/openid-configuration", Reply::json(configuration));
    let given = std::sync::atomic::AtomicUsize::new(0);
    http.handle("/token", move |request| {
        let form = request.text();
        let wanted = ["grant_type=client_credentials", "client_id=weir", "client_secret=hush%26hush", "audience=urn%3Apulsar"];
        match wanted.iter().all(|part| form.contains(part)) && request.method == "POST" {
            true => tokens(given.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
            false => Reply::status(400).body(format!("not {form}")),
        }
    });
    http
}

const KEY: &str = r#"{"type": "client_credentials", "client_id": "weir", "client_secret": "hush&hush"}"#;

fn connection(url: &str, issuer: &HttpFixture) -> Value {
    json!({
        "service_url": url, "auth.plugin-class": "org.apache.pulsar.client.impl.auth.oauth2.AuthenticationOAuth2",
        "issuer_url": format!("{}/realm/", issuer.url()), "credentials_url": KEY, "audience": "urn:pulsar",
    })
}

/// Names as the engine hands them over.
fn canonical(mut connection: Value) -> Value {
    let class = connection["auth.plugin-class"].take();
    let map = connection.as_object_mut().unwrap();
    map.remove("auth.plugin-class");
    map.insert("auth_plugin_class".into(), class);
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_gives_no_token_is_told_and_no_secret_is_shown() {
    let answer =
        BaseCommand { r#type: Type::Connected as i32, connected: Some(CommandConnected::default()), ..BaseCommand::default() };
    let url = answering(answer).await;
    for (reply, name, why) in [
        (Reply::status(401).body(r#"{"error": "invalid_client"}"#), "auth", "invalid_client"),
        (Reply::json(json!({"no": "token"})), "auth", "no `access_token`"),
        (Reply::status(503), "reach", "HTTP 503"),
    ] {
        let http = issuer(move |_| reply.clone());
        let report = Pulsar::default().check(&canonical(connection(&url, &http))).await.unwrap();
        let item = report.items.iter().find(|item| !item.ok).unwrap();
        assert_eq!(item.name, name, "{report:?}");
        assert!(item.detail.contains(why), "{report:?}");
        assert!(!format!("{report:?}").contains("hush"), "{report:?}");
        assert!(!http.requests_to("/token").is_empty());
    }
}

/// A guard is for the whole process and for good; nextest gives each test a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_an_issuer_sends_us_is_not_asked_unless_the_policy_permits_it() {
    let answer =
        BaseCommand { r#type: Type::Connected as i32, connected: Some(CommandConnected::default()), ..BaseCommand::default() };
    let url = answering(answer).await;
    let (http, elsewhere) = (HttpFixture::start().unwrap(), HttpFixture::start().unwrap());
    elsewhere.on("/token", Reply::json(json!({"access_token": "t"})));
    let configuration = json!({"token_endpoint": format!("{}/token", elsewhere.url())});
    http.on("/realm/.well-known/openid-configuration", Reply::json(configuration));
    let permitted = [url.trim_start_matches("pulsar://").to_owned(), http.address().to_string()];
    guard::install(Files::Anywhere, Policy::public_and(&permitted).unwrap()).unwrap();
    let report = Pulsar::default().check(&canonical(connection(&url, &http))).await.unwrap();
    assert!(!report.ok() && format!("{report:?}").contains("WEIR_EGRESS_ALLOW"), "{report:?}");
    assert_eq!((http.requests().len(), elsewhere.requests().len()), (1, 0));
}

#[test]
fn the_options_of_javas_plug_in_are_known_and_contradictions_are_told() {
    let class = "org.apache.pulsar.client.impl.auth.oauth2.AuthenticationOAuth2";
    let of = |more: Value| {
        let mut connection = json!({"service_url": "pulsar://a:6650"});
        connection.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Pulsar::default().validate("connection", &connection, &Value::Null).map_err(|error| error.code())
    };
    let parameters = json!({"type": "client_credentials", "issuerUrl": "https://i", "privateKey": "data:,{}", "audience": "a"});
    of(json!({"auth_plugin_class": class, "token": parameters.to_string()})).unwrap();
    of(json!({"issuer_url": "https://i", "credentials_url": KEY})).unwrap();
    for wrong in [
        json!({"auth_plugin_class": class}),
        json!({"auth_plugin_class": class, "token": "{\"privateKey\": 5}"}),
        json!({"auth_plugin_class": class, "token": parameters.to_string().replace("client_credentials", "password")}),
        json!({"issuer_url": "https://i"}),
        json!({"issuer_url": "https://i", "credentials_url": KEY, "token": "t"}),
        json!({"issuer_url": "https://i", "credentials_url": KEY, "user": "u", "password": "p"}),
        json!({"auth_plugin_class": "AuthenticationAthenz", "token": "t"}),
    ] {
        assert_eq!(of(wrong.clone()), Err("WEIR-PULSAR-001"), "{wrong}");
    }
    let schema = Pulsar::default().descriptor().connection.to_string();
    for alias in ["privateKey", "private_key", "issuerUrl"] {
        assert!(schema.contains(&format!("\"{alias}\"")), "{alias}");
    }
}

#[cfg(feature = "webhook")]
mod real {
    use std::path::Path;
    use std::process::Command;

    use base64::Engine;
    use hmac::{Hmac, Mac};
    use weir_testkit::process::{ServerProcess, Spawn, free_port};

    use super::super::writing::{barrier, batch, prepare};
    use super::*;

    const SECRET: &[u8] = b"a secret of thirty-two bytes, or more";

    /// A token for a role, good for so many seconds.
    fn token(role: &str, seconds: i64) -> String {
        let part = |json: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json.to_string());
        let expires = chrono::Utc::now().timestamp() + seconds;
        let text = format!("{}.{}", part(json!({"alg": "HS256"})), part(json!({"sub": role, "exp": expires})));
        let mut mac = <Hmac<sha2::Sha256> as Mac>::new_from_slice(SECRET).unwrap();
        mac.update(text.as_bytes());
        format!("{text}.{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    /// A broker that wants tokens, and asks for new ones when they expire.
    struct Strict {
        _process: ServerProcess,
        _home: tempfile::TempDir,
        url: String,
        admin: String,
    }

    fn config(installed: &Path, ours: &[(&str, String)]) -> String {
        let standard = std::fs::read_to_string(installed.join("conf/standalone.conf")).unwrap();
        let mine = |line: &&str| ours.iter().any(|(key, _)| line.split('=').next().is_some_and(|name| name.trim() == *key));
        let rest = standard.lines().filter(|line| !mine(line)).map(str::to_owned);
        rest.chain(ours.iter().map(|(key, value)| format!("{key}={value}"))).collect::<Vec<_>>().join("\n")
    }

    impl Strict {
        fn start() -> Self {
            let installed = weir_testkit::pulsar::install::home().unwrap();
            let home = tempfile::tempdir().unwrap();
            let (broker, web, bookie) = (free_port().unwrap(), free_port().unwrap(), free_port().unwrap());
            let secret = base64::engine::general_purpose::STANDARD.encode(SECRET);
            let admin = token("admin", 3600);
            let ours = [
                ("brokerServicePort", broker.to_string()),
                ("webServicePort", web.to_string()),
                ("bindAddress", "127.0.0.1".to_owned()),
                ("advertisedAddress", "127.0.0.1".to_owned()),
                ("diskUsageThreshold", "0.9999".to_owned()),
                ("diskUsageWarnThreshold", "0.9998".to_owned()),
                ("diskUsageLwmThreshold", "0.9998".to_owned()),
                ("minUsableSizeForIndexFileCreation", "1048576".to_owned()),
                ("minUsableSizeForEntryLogCreation", "1048576".to_owned()),
                ("authenticationEnabled", "true".to_owned()),
                ("authorizationEnabled", "true".to_owned()),
                ("superUserRoles", "admin".to_owned()),
                ("authenticationRefreshCheckSeconds", "2".to_owned()),
                ("authenticationProviders", "org.apache.pulsar.broker.authentication.AuthenticationProviderToken".to_owned()),
                ("tokenSecretKey", format!("data:;base64,{secret}")),
                ("brokerClientAuthenticationPlugin", "org.apache.pulsar.client.impl.auth.AuthenticationToken".to_owned()),
                ("brokerClientAuthenticationParameters", format!("token:{admin}")),
            ];
            let file = home.path().join("standalone.conf");
            std::fs::write(&file, config(&installed, &ours)).unwrap();
            let mut command = Command::new(installed.join("bin/pulsar"));
            command.args(["standalone", "-nfw", "-nss", "-a", "127.0.0.1", "--bookkeeper-port", &bookie.to_string()]);
            command.arg("--metadata-dir").arg(home.path().join("metadata"));
            command.arg("--bookkeeper-dir").arg(home.path().join("bookkeeper"));
            command
                .env("PULSAR_STANDALONE_CONF", &file)
                .env("PULSAR_STANDALONE_USE_ZOOKEEPER", "0")
                .env("PULSAR_LOG_DIR", home.path().join("logs"))
                .env("PULSAR_LOG_APPENDER", "Console")
                .env("PULSAR_LOG_LEVEL", "warn")
                .env("PULSAR_MEM", "-Xms192m -Xmx512m -XX:MaxDirectMemorySize=384m")
                .env("PULSAR_GC", "-XX:+UseSerialGC")
                .env("PULSAR_GC_LOG", "-Xlog:disable")
                .current_dir(home.path());
            let log = home.path().join("log");
            let mut process = ServerProcess::spawn("Pulsar", &mut command, &log, Spawn::default()).unwrap();
            let health = format!("http://127.0.0.1:{web}/admin/v2/brokers/health");
            process.wait_ready(&log, Duration::from_secs(240), || healthy(&health, &admin)).unwrap();
            let (url, admin) = (format!("pulsar://127.0.0.1:{broker}"), format!("http://127.0.0.1:{web}"));
            Self { _process: process, _home: home, url, admin }
        }

        async fn ask(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
            let url = format!("{}/admin/v2/{path}", self.admin);
            let request = reqwest::Client::new().request(method, &url).bearer_auth(token("admin", 3600));
            let answer = request.json(&body).send().await.unwrap();
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            assert!(status.is_success() || status == 409, "{url}: {status} {text}");
            serde_json::from_str(&text).unwrap_or_default()
        }
    }

    /// Asked from a thread of its own: the caller may be inside a runtime.
    fn healthy(url: &str, admin: &str) -> bool {
        let (url, admin) = (url.to_owned(), admin.to_owned());
        let asked = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let request = reqwest::Client::new().get(&url).bearer_auth(admin).timeout(Duration::from_secs(10));
                matches!(request.send().await, Ok(answer) if answer.status().is_success())
            })
        });
        asked.join().unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_token_that_expires_is_replaced_on_the_same_connection() {
        use reqwest::Method;
        let broker = tokio::task::spawn_blocking(Strict::start).await.unwrap();
        broker.ask(Method::PUT, "tenants/weir", json!({"allowedClusters": ["standalone"]})).await;
        broker.ask(Method::PUT, "namespaces/weir/oauth", json!({})).await;
        broker.ask(Method::POST, "namespaces/weir/oauth/permissions/mover", json!(["produce", "consume"])).await;
        // The first ones live for some seconds: the broker asks again while the reader waits.
        let http = issuer(|number| {
            let life = if number < 2 { 20 } else { 3600 };
            Reply::json(json!({"access_token": token("mover", life), "token_type": "Bearer", "expires_in": life}))
        });
        let mut of_all = canonical(connection(&broker.url, &http));
        of_all["namespace"] = json!("weir/oauth");
        let lab =
            Lab { url: broker.url.clone(), admin: broker.admin.clone(), namespace: "weir/oauth".into(), with: Some(of_all) };
        let stream = prepare(&lab, json!({"topic": "t"})).await.unwrap();
        let mut writer = stream.writer(0).await.unwrap();
        writer.write(batch(0..3)).await.unwrap();
        writer.flush(&barrier()).await.unwrap();
        let request = ReadRequest { unbounded: true, ..ReadRequest::default() };
        let reader = lab.open(json!({"topic": "t"}), "t", request).await.unwrap();
        let mut events = reader.read(&reader.splits()[0], None).await.unwrap();
        assert_eq!(until_idle(&mut events).await.0, [0, 1, 2]);
        let since = async || {
            let stats = broker.ask(Method::GET, "persistent/weir/oauth/t/stats", Value::Null).await;
            let all =
                stats["subscriptions"].as_object().unwrap().values().flat_map(|one| one["consumers"].as_array().unwrap().clone());
            all.map(|one| (one["consumerName"].clone(), one["connectedSince"].clone())).collect::<Vec<_>>()
        };
        let before = since().await;
        assert_eq!(before.len(), 1, "{before:?}");
        let asked = http.requests_to("/token").len();
        // Nobody connects meanwhile: only the broker's question makes the reader ask for another token.
        weir_testkit::wait_until("a new token was asked for", LIMIT, || http.requests_to("/token").len() > asked).unwrap();
        let begin = std::time::Instant::now();
        // Longer than the broker waits for the answer.
        weir_testkit::wait_until("the broker has looked again", LIMIT, || begin.elapsed() > Duration::from_secs(5)).unwrap();
        writer.write(batch(3..5)).await.unwrap();
        writer.flush(&barrier()).await.unwrap();
        let mut more = Vec::new();
        while more.len() < 2 {
            more.extend(until_idle(&mut events).await.0);
        }
        assert_eq!((more, since().await), (vec![3, 4], before));
        // A role that may do nothing, and a token that is none.
        for (text, kind) in [(token("nobody", 3600), Kind::Privilege), ("none".to_owned(), Kind::Auth)] {
            let http = issuer(move |_| Reply::json(json!({"access_token": text})));
            let report = Pulsar::default().check(&canonical(connection(&broker.url, &http))).await.unwrap();
            let name = if kind == Kind::Auth { "auth" } else { "privileges" };
            assert!(report.items.iter().any(|item| !item.ok && item.name == name), "{kind:?} {report:?}");
        }
    }
}
