//! What S3 says, in words that tell a person what to do. The service's own code (`<Code>`) decides, then the HTTP status.

use weir_error::{Error, Kind, chain};

/// Turns an error of the client into ours. `action` continues the sentence: `access denied writing …`.
pub(crate) fn explain(
    action: &'static str,
    bucket: &str,
    endpoint: &str,
    user: Option<&str>,
    path: &str,
    error: object_store::Error,
) -> Error {
    let text = chain(&error);
    let place = format!("s3://{bucket}/{path}");
    let code = tag(&text, "Code");
    let said = match (&code, tag(&text, "Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.clone(),
        _ => text.clone(),
    };
    let user = user.map_or_else(|| "these credentials".to_owned(), |user| format!("the key `{user}`"));
    match code.as_deref() {
        Some("SignatureDoesNotMatch") => Error::new("WEIR-S3-001", Kind::Auth, "S3 refused the secret key")
            .at(endpoint)
            .because(said)
            .hint(format!("the secret_key does not belong to {user}; check both, and the clock of this machine")),
        Some("InvalidAccessKeyId" | "InvalidToken" | "ExpiredToken" | "TokenRefreshRequired" | "InvalidClientTokenId") => {
            Error::new("WEIR-S3-002", Kind::Auth, "S3 refused the credentials")
                .at(endpoint)
                .because(said)
                .hint("check access_key, secret_key and session_token of the connection")
        }
        Some("NoSuchBucket") => Error::new("WEIR-S3-004", Kind::NotFound, format!("bucket `{bucket}` does not exist"))
            .at(endpoint)
            .because(said)
            .hint("create the bucket, or correct `bucket` (without it, the first part of the path is the bucket)"),
        Some("InvalidBucketName") => Error::new("WEIR-S3-004", Kind::Spec, format!("`{bucket}` cannot be the name of a bucket"))
            .at(endpoint)
            .because(said)
            .hint("give `bucket` in the connection, or begin the path with the bucket's name"),
        Some("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            Error::new("WEIR-S3-005", Kind::Auth, format!("bucket `{bucket}` lives in another region"))
                .at(endpoint)
                .because(said)
                .hint("set `region` of the connection to the bucket's region")
        }
        Some("RequestTimeTooSkewed") => Error::new("WEIR-S3-006", Kind::Auth, "the clock of this machine is wrong")
            .at(endpoint)
            .because(said)
            .hint("set the clock (NTP)"),
        Some("QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded") => {
            Error::new("WEIR-S3-007", Kind::Limit, "the storage behind S3 is full").at(place).because(said)
        }
        Some("SlowDown" | "ServiceUnavailable" | "InternalError" | "RequestTimeout" | "XMinioServerNotInitialized") => {
            Error::new("WEIR-S3-008", Kind::Connect, "S3 is overloaded or not ready").at(place).because(said).transient()
        }
        Some("AccessDenied" | "AllAccessDisabled" | "AccountProblem") => denied(action, bucket, &user, &place, &said),
        _ => match error {
            // The answer to a HEAD has no body: the service does not say whether the key is wrong or may not do this.
            object_store::Error::PermissionDenied { .. } => Error::new("WEIR-S3-002", Kind::Auth, "S3 refused the request")
                .at(place)
                .because(format!("403 without a reason, {action} with {user}"))
                .hint(format!(
                    "check access_key and secret_key of the connection; if they are right, grant {} on this place",
                    privilege(action)
                )),
            object_store::Error::Unauthenticated { .. } => Error::new("WEIR-S3-002", Kind::Auth, "S3 refused the credentials")
                .at(endpoint)
                .because(said)
                .hint("check access_key and secret_key of the connection"),
            object_store::Error::NotFound { .. } => {
                Error::new("WEIR-S3-009", Kind::NotFound, "no such object").at(place).because(said)
            }
            _ if is_unreachable(&text) => Error::new("WEIR-S3-011", Kind::Connect, "cannot reach S3")
                .at(endpoint)
                .because(innermost(&error).unwrap_or(said))
                .hint("check `endpoint`, and that the server runs and is reachable from here")
                .transient(),
            other => Error::new("WEIR-S3-012", Kind::Connect, format!("S3 failed {action} an object")).at(place).caused_by(other),
        },
    }
}

/// The same for a bucket that is the platform's own: whoever reads this can do nothing about its keys, and its name and address are not
/// theirs to know.
pub(crate) fn explain_own(action: &'static str, path: &str, error: object_store::Error) -> Error {
    let told = explain(action, "", "", None, "", error);
    let why = match told.code() {
        "WEIR-S3-001" | "WEIR-S3-002" | "WEIR-S3-003" | "WEIR-S3-006" => "the bucket refuses the platform's keys",
        "WEIR-S3-004" | "WEIR-S3-005" => "the platform's bucket is not where its settings say",
        "WEIR-S3-007" => "the storage behind the bucket is full",
        "WEIR-S3-008" => "the bucket's service is overloaded or not ready",
        "WEIR-S3-009" => "there is no such file",
        "WEIR-S3-011" => "the bucket's service cannot be reached",
        _ => "the bucket's service does not do it",
    };
    Error::new(told.code(), told.kind(), format!("the platform's storage of files failed {action} a file"))
        .at(path)
        .because(why)
        .hint("tell whoever runs the platform; there `weir doctor` checks the bucket")
        .retry(told.retryable())
}

fn privilege(action: &str) -> &'static str {
    match action {
        "listing" => "s3:ListBucket",
        "reading" => "s3:GetObject and s3:ListBucket",
        "deleting" => "s3:DeleteObject",
        "aborting an upload of" => "s3:AbortMultipartUpload",
        _ => "s3:PutObject",
    }
}

fn denied(action: &str, bucket: &str, user: &str, place: &str, said: &str) -> Error {
    let what = if action == "listing" {
        format!("access denied listing bucket `{bucket}`")
    } else {
        format!("access denied {action} an object")
    };
    Error::new("WEIR-S3-003", Kind::Privilege, what)
        .at(place)
        .because(format!("{user} may not do this in bucket `{bucket}` (403 {said})"))
        .hint(format!("grant {} on this place, or choose another connection", privilege(action)))
}

fn tag(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once(&format!("</{name}>"))?;
    Some(value.to_owned())
}

fn is_unreachable(text: &str) -> bool {
    ["error sending request", "HTTP error", "connect", "dns", "timed out", "Connection", "certificate", "tls", "TLS"]
        .iter()
        .any(|word| text.contains(word))
}

/// The message at the bottom: `Connection refused (os error 111)`.
fn innermost(error: &object_store::Error) -> Option<String> {
    let mut at: &dyn std::error::Error = error;
    while let Some(next) = at.source() {
        at = next;
    }
    let text = at.to_string();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_body(body: &str) -> Error {
        let error = object_store::Error::Generic { store: "S3", source: body.to_owned().into() };
        explain("writing", "lake", "http://minio:9000", Some("weir-writer"), "bronze/x.parquet", error)
    }

    #[test]
    fn a_missing_privilege_names_key_bucket_and_what_to_grant() {
        let error = from_body("<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>");
        assert_eq!(error.kind(), Kind::Privilege);
        assert_eq!(
            error.to_string(),
            "access denied writing an object (s3://lake/bronze/x.parquet): the key `weir-writer` may not do this in bucket \
             `lake` (403 AccessDenied: Access Denied.)"
        );
        assert!(error.advice().unwrap().contains("s3:PutObject"));
    }

    #[test]
    fn overload_is_worth_another_try_and_a_wrong_secret_is_not() {
        let slow = from_body("<Error><Code>SlowDown</Code></Error>");
        assert_eq!(slow.retryable(), weir_error::Retry::Transient);
        let secret = from_body("<Error><Code>SignatureDoesNotMatch</Code><Message>m</Message></Error>");
        assert_eq!((secret.kind(), secret.retryable()), (Kind::Auth, weir_error::Retry::Never));
    }
}
