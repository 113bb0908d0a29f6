//! Encrypted connections: right ones work, and each wrong one is told as what it is.

use weir_connect::CheckReport;

use super::*;

fn failed(report: &CheckReport) -> (Vec<&str>, String) {
    let items: Vec<_> = report.items.iter().filter(|item| !item.ok).collect();
    (items.iter().map(|item| item.name.as_str()).collect(), items.iter().map(|item| item.detail.clone()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_passwords_are_checked_on_both_sides() {
    let broker = weir_testkit::Kafka::start_tls().unwrap();
    let folder = broker.certificates().unwrap();
    let file = |name: &str| folder.join(name).display().to_string();
    let (tls, sasl) = (broker.tls_port().unwrap(), broker.sasl_tls_port().unwrap());
    let check = async |mut connection: Value, more: Value| {
        connection.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        connection["connect_timeout_secs"] = 6.into();
        Kafka::default().check(&connection).await.unwrap()
    };
    let by_certificate = json!({
        "bootstrap_servers": format!("localhost:{tls}"), "ssl_root_cert": file("ca.pem"), "ssl_cert": file("client.pem"), "ssl_key": file("client.key"),
    });
    let by_password = json!({
        "bootstrap_servers": format!("localhost:{sasl}"), "ssl_root_cert": file("ca.pem"), "sasl_mechanism": "scram_sha_256",
        "user": weir_testkit::kafka::USER, "password": weir_testkit::kafka::PASSWORD,
    });
    for right in [&by_certificate, &by_password] {
        let report = check(right.clone(), json!({})).await;
        assert!(report.ok(), "{report:?}");
    }
    let wrong = [
        ("another authority", check(by_password.clone(), json!({"ssl_root_cert": file("other-ca.pem")})).await, "reach"),
        (
            "the certificate is for another name",
            check(by_password.clone(), json!({"bootstrap_servers": format!("127.0.0.1:{sasl}")})).await,
            "reach",
        ),
        (
            "no certificate of the client",
            check(by_certificate.clone(), json!({"ssl_cert": null, "ssl_key": null})).await,
            "reach",
        ),
        ("the port speaks no TLS", check(by_password.clone(), json!({"bootstrap_servers": broker.bootstrap()})).await, "reach"),
        ("the password", check(by_password.clone(), json!({"password": "wrong-sesame"})).await, "auth"),
    ];
    for (what, report, item) in &wrong {
        let (names, detail) = failed(report);
        assert_eq!(names, [*item], "{what}: {report:?}");
        assert!(!detail.contains("wrong-sesame"), "{detail}");
    }
    // The client does not always tell a certificate that it refuses from a broker that is away: the advice names both.
    for (what, report, _) in &wrong[..2] {
        assert!(failed(report).1.contains("`ssl_root_cert`"), "{what}: {report:?}");
    }
    assert!(failed(&wrong[4].1).1.contains("refuse the credentials"), "{:?}", wrong[4].1);
    // What is not looked at is not found out: only when that is asked for.
    let blind =
        json!({"ssl_root_cert": null, "tls": true, "verify_tls": false, "bootstrap_servers": format!("127.0.0.1:{sasl}")});
    assert!(check(by_password.clone(), blind).await.ok());
    let mut missing = by_password;
    missing["ssl_root_cert"] = file("none.pem").into();
    assert_eq!(Kafka::default().check(&missing).await.unwrap_err().code(), "WEIR-KAFKA-001");
}
