//! What only S3 has: errors of the service, buckets in paths, uploads that are aborted.

use super::*;
use weir_error::Kind;
use weir_testkit::FaultProxy;

fn without(connection: &Value, change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Value {
    let mut changed = connection.as_object().unwrap().clone();
    change(&mut changed);
    Value::Object(changed)
}

#[tokio::test]
async fn the_service_says_what_is_wrong_and_we_say_what_to_do() {
    let place = Place::s3();
    let cases: [(Value, Kind, &str); 4] = [
        (without(&place.connection, |c| drop(c.insert("secret_key".into(), json!("wrongwrong")))), Kind::Auth, "WEIR-S3-001"),
        (without(&place.connection, |c| drop(c.insert("access_key".into(), json!("nobody")))), Kind::Auth, "WEIR-S3-002"),
        (without(&place.connection, |c| drop(c.insert("bucket".into(), json!("no-such-bucket")))), Kind::NotFound, "WEIR-S3-004"),
        (without(&place.connection, |c| drop((c.remove("access_key"), c.remove("secret_key")))), Kind::Privilege, "WEIR-S3-003"),
    ];
    for (connection, kind, code) in cases {
        let broken = Place { connection, ..Place::s3() };
        let error = broken.prepare(json!({"path": "lake"}), target("r1", WriteMode::Append)).await.map(|_| ()).unwrap_err();
        assert_eq!((error.kind(), error.code()), (kind, code), "{error:?}");
        assert!(error.advice().is_some());
        assert!(!format!("{error:?}").contains("wrongwrong"));
        let report = Files::s3().check(&broken.connection).await.unwrap();
        assert!(!report.ok(), "{report:?}");
    }
    assert!(Files::s3().check(&place.connection).await.unwrap().ok());
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_a_connection_error() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let connection = json!({"endpoint": format!("http://127.0.0.1:{port}"), "bucket": "b", "access_key": "a", "secret_key": "s"});
    let place = Place { files: Files::s3(), connection, ..Place::local() };
    let error = place.rows(json!({"path": "x"})).await.unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (Kind::Connect, 3), "{error:?}");
}

#[tokio::test]
async fn the_first_part_of_the_path_is_the_bucket_when_none_is_named() {
    let place = Place::s3();
    let bucket = place.bucket.as_ref().unwrap().name().to_owned();
    let free = Place { connection: without(&place.connection, |c| drop(c.remove("bucket"))), ..place };
    let path = format!("{bucket}/bronze/mysql/customers");
    free.run(json!({"path": path}), target("r1", WriteMode::Append), &[batch(0..4)]).await.unwrap();
    for path in [path.clone(), format!("s3://{path}"), format!("/{path}/"), format!("{bucket}/bronze/**/*.parquet")] {
        assert_eq!(free.rows(json!({"path": path})).await.unwrap().len(), 4, "{path}");
    }
    assert!(free.visible().keys().all(|key| key.starts_with("bronze/mysql/customers/part-")));
}

#[tokio::test]
async fn a_file_of_many_parts_arrives_whole_and_an_abandoned_upload_is_aborted() {
    let place = Place::s3();
    let noise = |at: i64| {
        let names: StringArray =
            (0..20_000).map(|_| Some(format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>()))).collect();
        let mut columns = batch(at..at + 20_000).columns().to_vec();
        columns[1] = Arc::new(names);
        RecordBatch::try_new(schema(), columns).unwrap()
    };
    let batches: Vec<RecordBatch> = (0..16).map(|at| noise(at * 20_000)).collect();
    let stream = place.prepare(json!({"path": "lake"}), target("r1", WriteMode::Append)).await.unwrap();
    let mut writer = stream.writer(0).await.unwrap();
    let abandoned = write(writer.as_mut(), &batches, 1).await.unwrap();
    stream.discard(&[]).await.unwrap();
    let error = stream.commit(&[abandoned]).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-FILE-009", Kind::NotFound), "{error:?}");
    assert_eq!(place.visible(), BTreeMap::new());

    let report = place.run(json!({"path": "lake"}), target("r2", WriteMode::Append), &batches).await.unwrap();
    assert!(report.bytes > 12_000_000, "{report:?}");
    assert_eq!(place.rows(json!({"path": "lake"})).await.unwrap(), sorted(&batches));
}

#[tokio::test]
async fn a_connection_that_breaks_is_tried_again() {
    let place = Place::s3();
    place.run(json!({"path": "lake"}), target("r1", WriteMode::Append), &[batch(0..100)]).await.unwrap();
    let endpoint = place.connection["endpoint"].as_str().unwrap().trim_start_matches("http://").to_owned();
    let proxy = FaultProxy::to(endpoint.as_str()).unwrap();
    let connection =
        without(&place.connection, |c| drop(c.insert("endpoint".into(), json!(format!("http://{}", proxy.address())))));
    let shaky = Place { connection, ..place };
    proxy.cut_after_bytes(300);
    let rows = shaky.rows(json!({"path": "lake"})).await.unwrap();
    assert_eq!(rows, sorted(&[batch(0..100)]));
}
