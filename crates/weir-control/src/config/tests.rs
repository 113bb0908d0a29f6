//! Layers against each other, the seed's own file, and mistakes.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;

fn environment(variables: &[(&str, &str)]) -> Inputs {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Inputs { environment, ..Inputs::default() }
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weir.json");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

fn why(inputs: &Inputs) -> String {
    load(inputs).unwrap_err().why().unwrap().to_owned()
}

/// The file of the runner's manual.
const SEED: &str = r#"{
  "runner_id": "production-runner",
  "tenant_id": "trading-platform",
  "max_concurrent_jobs": 20,
  "job_timeout_seconds": 3600,
  "vault_enabled": true,
  "vault_address": "http://vault:8200",
  "vault_token": "your-vault-token",
  "metrics_enabled": true,
  "metrics_port": 9090,
  "tracing_enabled": true,
  "tracing_endpoint": "http://jaeger:14268/api/traces",
  "log_level": "info",
  "supported_engines": ["seatunnel", "spark", "flink"],
  "engine_configs": {
    "spark": {"executor_memory": "8g", "executor_cores": "4"},
    "flink": {"taskmanager_memory": "4g", "task_slots": "4"}
  }
}"#;

#[test]
fn the_seeds_file_works_as_printed() {
    let (_dir, path) = file(SEED);
    let loaded = load(&Inputs { file: Some(path), ..Inputs::default() }).unwrap();
    let settings = &loaded.settings;
    assert_eq!((settings.runner_id.as_str(), settings.tenant_id.as_str()), ("production-runner", "trading-platform"));
    assert_eq!((settings.max_concurrent_jobs, settings.job_timeout_secs), (20, 3600));
    assert!(
        matches!(&settings.vault, Some((address, VaultAuth::Token(token))) if address == "http://vault:8200" && token.expose() == "your-vault-token")
    );
    assert_eq!(settings.metrics_listen, Some("127.0.0.1:9090".parse().unwrap()));
    assert_eq!(settings.tracing_endpoint.as_deref(), Some("http://jaeger:4318/v1/traces"));
    assert!(loaded.warnings.iter().any(|warning| warning.contains("Jaeger")), "{:?}", loaded.warnings);
    assert_eq!(settings.supported_engines, ["seatunnel", "spark", "flink"]);
    assert_eq!(settings.engine_configs["spark"], json!({"executor_memory": "8g", "executor_cores": "4"}));
    let shown = serde_json::to_string(&show::to_json(&loaded.effective)).unwrap();
    assert!(!shown.contains("your-vault-token") && shown.contains("production-runner"), "{shown}");
}

#[test]
fn the_later_layer_wins_and_its_origin_is_known() {
    let (_dir, path) = file(r#"{"max_concurrent_jobs": 1, "log_level": "debug", "job_timeout_seconds": 5}"#);
    let variables = [("MAX_CONCURRENT_JOBS", "2"), ("LOG_LEVEL", "WARNING"), ("RUNNER_ID", "")];
    let inputs = Inputs { file: Some(path.clone()), ..environment(&variables) };
    let loaded = load(&inputs.flag("max_concurrent_jobs", "--workers", Some("3".into()))).unwrap();
    let origin = |key: &str| loaded.effective.iter().find(|one| one.field.key == key).unwrap().origin.clone();
    assert_eq!(loaded.settings.max_concurrent_jobs, 3);
    assert_eq!(loaded.settings.log_level, "warn");
    assert_eq!(loaded.settings.job_timeout_secs, 5);
    assert_eq!(origin("max_concurrent_jobs"), Origin::Flag("--workers"));
    assert_eq!(origin("log_level"), Origin::Environment("LOG_LEVEL"));
    assert_eq!(origin("job_timeout_seconds"), Origin::File(path));
    assert_eq!(origin("runner_id"), Origin::Default, "an empty variable is unset");
}

#[test]
fn defaults_follow_the_data_folder() {
    let settings = Settings::defaults(Path::new("/srv/weir")).unwrap();
    assert_eq!(settings.database_url.expose(), "sqlite:/srv/weir/weir.db");
    assert_eq!(settings.spec_root, Path::new("/srv/weir/specs"));
    assert_eq!(settings.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!((settings.environment, settings.tenant_id.as_str()), (Environment::Production, "default"));
    assert!(settings.metrics_listen.is_none() && settings.vault.is_none() && settings.tracing_endpoint.is_none());
    assert_eq!(settings.cost, CostSettings { core_hour: 0.04, gib_hour: 0.005, gib_moved: 0.01 });
}

#[test]
fn everything_wrong_is_told_at_once_with_its_place_and_what_is_allowed() {
    let (_dir, path) = file(r#"{"max_concurent_jobs": 5, "log_level": "loud", "metrics_port": "many", "wholly_unknown": 1}"#);
    let variables = [("JOB_TIMEOUT_SECONDS", "soon"), ("VAULT_ENABLED", "true"), ("IGNITE_HOSTS", "a:1,b:2")];
    let told = why(&Inputs { file: Some(path.clone()), ..environment(&variables) });
    let lines: Vec<&str> = told.lines().collect();
    let path = path.display();
    for expected in [
        format!("`max_concurent_jobs` in {path}: there is no such setting; is `max_concurrent_jobs` meant?"),
        format!("`wholly_unknown` in {path}: there is no such setting"),
        format!("`log_level` in {path} `loud`: it is another word; allowed: error, warn, warning, info, debug, trace"),
        format!("`metrics_port` in {path} `many`: it is no whole number; allowed: a whole number from 0 to 65535"),
        "JOB_TIMEOUT_SECONDS `soon`: it is no whole number; allowed: a whole number from 1 to 2592000".into(),
        "VAULT_ADDRESS (`vault_address` in the file): Vault is enabled and has no address; allowed: https://HOST:8200, or VAULT_ENABLED=false".into(),
    ] {
        assert!(lines.contains(&expected.as_str()), "{expected}\nin\n{told}");
    }
    assert_eq!(lines.len(), 6, "{told}");
}

#[test]
fn a_wrong_secret_is_never_repeated() {
    let long = "s3cr3t".repeat(1000);
    let told = why(&environment(&[
        ("VAULT_TOKEN", &long),
        ("DATABASE_URL", "mysql://root:s3cr3t@db/weir"),
        ("ALERT_WEBHOOK_URL", "s3cr3t"),
    ]));
    assert!(!told.contains("s3cr3t"), "{told}");
    assert_eq!(told.lines().count(), 3, "{told}");
}

#[test]
fn development_is_for_this_machine_only() {
    let dev =
        |listen: &str| load(&environment(&[("WEIR_LISTEN", listen)]).flag("environment", "--dev", Some("development".into())));
    for loopback in ["127.0.0.1:0", "[::1]:8080", "localhost:1", "127.9.9.9:1"] {
        assert_eq!(dev(loopback).unwrap().settings.environment, Environment::Development);
    }
    for open in ["0.0.0.0:8080", "[::]:8080", "192.168.1.4:80", "[::ffff:127.0.0.1]:80"] {
        let error = dev(open).unwrap_err();
        assert!(error.why().unwrap().starts_with("WEIR_LISTEN: with --dev"), "{error}");
    }
}

#[test]
fn what_belongs_together_is_set_together() {
    for (variables, key) in [
        (&[("MINIO_ENDPOINT", "http://minio:9000")][..], "MINIO_ACCESS_KEY"),
        (&[("MINIO_SECRET_KEY", "x")], "MINIO_ENDPOINT"),
        (&[("VAULT_ADDRESS", "http://v:8200")], "VAULT_TOKEN"),
        (&[("VAULT_ADDRESS", "http://v:8200"), ("VAULT_ROLE_ID", "r")], "VAULT_SECRET_ID"),
        (&[("OIDC_ISSUER", "https://id.example.org")], "OIDC_AUDIENCE"),
        (&[("OIDC_ISSUER", "http://id.example.org"), ("OIDC_AUDIENCE", "weir")], "OIDC_ISSUER"),
        (
            &[("OIDC_ISSUER", "https://id.example.org"), ("OIDC_AUDIENCE", "weir"), ("OIDC_ALGORITHMS", "RS256,HS256")],
            "OIDC_ALGORITHMS",
        ),
        (&[("OIDC_ISSUER", "https://id.example.org"), ("OIDC_AUDIENCE", "weir"), ("OIDC_ALGORITHMS", "none")], "OIDC_ALGORITHMS"),
        (&[("TENANT_ID", "../etc")], "TENANT_ID"),
        (&[("TRACING_ENDPOINT", "http://zipkin:9411/api/v2/spans")], "TRACING_ENDPOINT"),
        (&[("WEIR_EGRESS_ALLOW", "10.0.0.0/99")], "WEIR_EGRESS_ALLOW"),
        (&[("WEIR_FILES", "s3://weir-files/prod")], "WEIR_FILES_ACCESS_KEY"),
        (&[("WEIR_FILES", "s3://weir-files/prod"), ("WEIR_FILES_ACCESS_KEY", "a")], "WEIR_FILES_SECRET_KEY"),
        (&[("WEIR_FILES", "s3://weir-files/../x"), ("WEIR_FILES_ACCESS_KEY", "a")], "WEIR_FILES"),
        (&[("WEIR_FILES", "/srv/files")], "WEIR_FILES"),
        (&[("WEIR_FILES_ENDPOINT", "http://minio:9000")], "WEIR_FILES"),
    ] {
        let told = why(&environment(variables));
        assert!(told.starts_with(key) && told.lines().count() == 1, "{key}: {told}");
    }
    let off = [
        ("VAULT_ADDRESS", "http://v:8200"),
        ("VAULT_ENABLED", "false"),
        ("TRACING_ENDPOINT", "http://o:4318"),
        ("TRACING_ENABLED", "0"),
    ];
    let settings = load(&environment(&off)).unwrap().settings;
    assert!(settings.vault.is_none() && settings.tracing_endpoint.is_none());
}

#[test]
fn the_bucket_of_files_takes_the_keys_of_the_object_store_unless_it_has_its_own() {
    let of = |own: &[(&str, &str)]| {
        let minio = [("MINIO_ENDPOINT", "http://minio:9000"), ("MINIO_ACCESS_KEY", "m"), ("MINIO_SECRET_KEY", "m-s3cr3t")];
        let all: Vec<_> = own.iter().chain(&minio).copied().chain([("WEIR_FILES", "s3://weir-files/prod/")]).collect();
        let bucket = load(&environment(&all)).unwrap().settings.files.unwrap();
        assert_eq!((bucket.bucket.as_str(), bucket.prefix.as_str()), ("weir-files", "prod"));
        assert!(!format!("{bucket:?}").contains("s3cr3t"));
        (bucket.endpoint, bucket.region, bucket.access_key, bucket.secret_key.expose().to_owned())
    };
    let text = |parts: [&str; 3]| parts.map(str::to_owned);
    let [region, access, secret] = text(["us-east-1", "m", "m-s3cr3t"]);
    assert_eq!(of(&[]), (Some("http://minio:9000".into()), region, access, secret));
    let [region, access, secret] = text(["eu-west-1", "f", "f-s3cr3t"]);
    let own = [("WEIR_FILES_ACCESS_KEY", "f"), ("WEIR_FILES_SECRET_KEY", "f-s3cr3t"), ("WEIR_FILES_REGION", "eu-west-1")];
    assert_eq!(of(&own), (None, region, access, secret), "its own keys are not for the other service");
    assert!(Settings::defaults(Path::new("/srv/weir")).unwrap().files.is_none());
}

#[test]
fn the_object_store_is_for_the_platforms_own_tenant_and_not_where_it_holds_all_tenants_files() {
    let minio = [("MINIO_ENDPOINT", "http://minio:9000"), ("MINIO_ACCESS_KEY", "m"), ("MINIO_SECRET_KEY", "m-s3cr3t")];
    let loaded = |more: &[(&str, &str)]| load(&environment(&minio.iter().chain(more).copied().collect::<Vec<_>>())).unwrap();
    let given = |more: &[(&str, &str)], tenant: &str| loaded(more).settings.object_store_of(tenant).is_some();
    assert!(given(&[], "default") && !given(&[], "acme") && !given(&[], ""));
    assert!(given(&[("TENANT_ID", "acme")], "acme") && !given(&[("TENANT_ID", "acme")], "default"));
    let files = ("WEIR_FILES", "s3://weir-files/prod");
    assert!(!given(&[files], "default"), "its keys would open the bucket of all tenants' files");
    assert!(loaded(&[files]).warnings.iter().any(|warning| warning.contains("MINIO_ACCESS_KEY")));
    let own = [files, ("WEIR_FILES_ACCESS_KEY", "f"), ("WEIR_FILES_SECRET_KEY", "f-s3cr3t")];
    assert!(given(&own, "default") && loaded(&own).warnings.is_empty());
    let same = [files, ("WEIR_FILES_ACCESS_KEY", "m"), ("WEIR_FILES_SECRET_KEY", "m-s3cr3t")];
    assert!(!given(&same, "default"));
}

#[test]
fn a_mistyped_variable_is_warned_about() {
    let warnings = load(&environment(&[("WEIR_LISTN", "0.0.0.0:80"), ("WEIR_STATE_DIR", "x"), ("WEIR_OTHER_PROGRAM", "y")]))
        .unwrap()
        .warnings;
    assert_eq!(warnings, ["the environment variable WEIR_LISTN is not known; is WEIR_LISTEN meant?"]);
}

#[test]
fn a_broken_file_is_told_with_its_place() {
    for (text, part) in [
        ("{\"a\": ", "line 1"),
        ("[1]", "a JSON object"),
        ("", "EOF"),
        ("{\"log_level\":\"info\",\"log_level\":\"debug\"}", "twice"),
    ] {
        let (_dir, path) = file(text);
        let error = load(&Inputs { file: Some(path), ..Inputs::default() }).unwrap_err();
        assert!(error.to_string().contains(part), "{text}: {error}");
        assert_eq!(error.exit_code(), 2);
    }
    let error = load(&Inputs { file: Some("/nowhere/weir.json".into()), ..Inputs::default() }).unwrap_err();
    assert_eq!(error.code(), "WEIR-CONFIG-002");
}

#[test]
fn secrets_are_hidden_wherever_they_stand() {
    let (_dir, path) =
        file(r#"{"engine_configs": {"spark": {"api_token": "s3cr3t", "nested": [{"password": "s3cr3t"}], "cores": 4}}}"#);
    let variables = [
        ("DATABASE_URL", "postgres://weir:s3cr3t@db:5432/weir?sslpassword=s3cr3t&sslmode=require"),
        ("VAULT_ADDRESS", "http://v:8200"),
        ("VAULT_TOKEN", "s3cr3t"),
        ("ALERT_WEBHOOK_URL", "https://hooks.example.org/s3cr3t"),
        ("WEIR_SEAL_KEY", "s3cr3t"),
        ("MINIO_ENDPOINT", "http://minio:9000"),
        ("MINIO_ACCESS_KEY", "weir"),
        ("MINIO_SECRET_KEY", "s3cr3t"),
        ("WEIR_FILES", "s3://weir-files/prod"),
        ("WEIR_FILES_ACCESS_KEY", "weir"),
        ("WEIR_FILES_SECRET_KEY", "s3cr3t"),
        ("TRACING_ENDPOINT", "https://user:s3cr3t@otel:4318"),
    ];
    let loaded = load(&Inputs { file: Some(path), ..environment(&variables) }).unwrap();
    let shown = show::to_json(&loaded.effective);
    let lines: Vec<String> = loaded.effective.iter().map(show::text).collect();
    assert!(!shown.to_string().contains("s3cr3t") && !lines.join("\n").contains("s3cr3t"), "{shown}\n{lines:?}");
    assert!(!format!("{:?}", loaded.warnings).contains("s3cr3t"));
    assert_eq!(shown["database_url"]["value"], "postgres://weir:***@db:5432/weir?sslpassword=***&sslmode=require");
    assert_eq!(shown["engine_configs"]["value"]["spark"]["cores"], 4);
}

#[test]
fn the_reference_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/config.md");
    let page = show::reference_page();
    if std::env::var_os("WEIR_REWRITE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page,
        "docs/reference/config.md is not current: WEIR_REWRITE=1 cargo nextest run -p weir-control config"
    );
}
