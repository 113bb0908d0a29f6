//! Where a cluster is and how to log in there: from inside of it, or from the simple forms of a kubeconfig.
//!
//! Simple: a server with its authority, and a token, a token file or a client certificate. Programs that make credentials (`exec`,
//! `auth-provider`) are not started: they would run with the platform's own rights.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use weir_error::{Error, Kind, Result, Secret};

/// What the kubelet puts into every Pod that is allowed to talk to the API.
const MOUNTED: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How to log in.
#[derive(Debug, Clone)]
pub enum Login {
    /// A token that does not change.
    Token(Secret),
    /// A file that somebody renews; read for every request.
    TokenFile(PathBuf),
    /// A client certificate and its key, PEM.
    Certificate(Secret),
}

/// A cluster's API server.
#[derive(Debug, Clone)]
pub struct Access {
    /// `https://HOST:PORT`.
    pub server: String,
    /// PEM of the authorities that its certificate may come from; `None` = those of this machine.
    pub authorities: Option<Vec<u8>>,
    /// Who we are.
    pub login: Login,
}

fn unusable(place: impl std::fmt::Display, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-KUBE-020", Kind::Spec, "this says not how to reach a Kubernetes cluster")
        .at(place.to_string())
        .because(why)
        .hint("a kubeconfig with a server, its authority and a token, a token file or a client certificate; inside of a cluster none is needed")
}

impl Access {
    /// That of the kubeconfig, else of the cluster that this process runs in.
    pub fn find(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Self> {
        match kubeconfig {
            Some(path) => Self::kubeconfig(path, context),
            None => Self::inside(),
        }
    }

    /// Of the Pod that this process runs in: `KUBERNETES_SERVICE_HOST` and the mounted service account.
    fn inside() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (Some(host), Some(port)) = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT")) else {
            return Err(unusable("the environment", "this process runs in no cluster, and no kubeconfig is named")
                .hint("KUBERNETES_KUBECONFIG=FILE, or run weir in the cluster with a service account"));
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let authorities = Path::new(MOUNTED).join("ca.crt");
        let pem = std::fs::read(&authorities).map_err(|error| unusable(authorities.display(), error))?;
        let login = Login::TokenFile(Path::new(MOUNTED).join("token"));
        Ok(Self { server: format!("https://{host}:{port}"), authorities: Some(pem), login })
    }

    /// Of a context (`None`: the current one) in a kubeconfig.
    fn kubeconfig(path: &Path, context: Option<&str>) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| unusable(path.display(), error))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, folder, context).map_err(|why| unusable(path.display(), why))
    }

    /// The same from its text; relative paths start at `folder`.
    fn parse(text: &str, folder: &Path, context: Option<&str>) -> std::result::Result<Self, String> {
        let documents = weir_spec::from_yaml(text).ok_or("it is neither YAML nor JSON")?;
        let config = documents.first().ok_or("it is empty")?;
        let wanted = context.or_else(|| config["current-context"].as_str()).ok_or("it has no current-context")?;
        let context = named(config, "contexts", wanted)?.get("context").ok_or("a context without content")?;
        let part = |list: &str, key: &str| {
            let name = context[key].as_str().ok_or_else(|| format!("context `{wanted}` names no {key}"))?;
            Ok::<_, String>(named(config, list, name)?.get(key).cloned().unwrap_or(Value::Null))
        };
        let (cluster, user) = (part("clusters", "cluster")?, part("users", "user")?);
        if cluster["insecure-skip-tls-verify"] == Value::Bool(true) {
            return Err("insecure-skip-tls-verify: the server's certificate must be verified; name its authority".into());
        }
        let server = cluster["server"].as_str().ok_or("the cluster has no server")?.to_owned();
        let bytes = |part: &Value, key: &str| -> std::result::Result<Option<Vec<u8>>, String> {
            if let Some(data) = part[format!("{key}-data")].as_str() {
                return STANDARD.decode(data).map(Some).map_err(|_| format!("{key}-data is not base64"));
            }
            let Some(file) = part[key].as_str() else { return Ok(None) };
            std::fs::read(folder.join(file)).map(Some).map_err(|error| format!("{key} {file}: {error}"))
        };
        let authorities = bytes(&cluster, "certificate-authority")?;
        let login = if let Some(token) = user["token"].as_str() {
            Login::Token(Secret::new(token))
        } else if let Some(file) = user["tokenFile"].as_str() {
            Login::TokenFile(folder.join(file))
        } else if let (Some(mut pem), Some(key)) = (bytes(&user, "client-certificate")?, bytes(&user, "client-key")?) {
            pem.push(b'\n');
            pem.extend(key);
            Login::Certificate(Secret::new(String::from_utf8(pem).map_err(|_| "the client certificate is not PEM")?))
        } else {
            return Err("its user has neither token, tokenFile nor client-certificate with client-key".into());
        };
        Ok(Self { server, authorities, login })
    }
}

/// The entry of a list of named entries.
fn named<'a>(config: &'a Value, list: &str, name: &str) -> std::result::Result<&'a Value, String> {
    let entries = config[list].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().find(|entry| entry["name"] == name).ok_or_else(|| format!("there is no `{name}` among its {list}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts:\n- name: a\n  context: {cluster: c, user: u}\n\
        - name: b\n  context: {cluster: c, user: nobody}\nclusters:\n- name: c\n  cluster:\n    server: https://127.0.0.1:6443\n    \
        certificate-authority-data: UEVN\nusers:\n- name: u\n  user: {token: hunter2}\n- name: nobody\n  user:\n    exec: {command: aws}\n";

    #[test]
    fn the_simple_forms_are_read_and_no_program_is_started() {
        let access = Access::parse(CONFIG, Path::new("."), None).unwrap();
        assert_eq!((access.server.as_str(), access.authorities.as_deref()), ("https://127.0.0.1:6443", Some(&b"PEM"[..])));
        assert!(matches!(&access.login, Login::Token(token) if token.expose() == "hunter2"));
        assert!(!format!("{access:?}").contains("hunter2"));
        for (change, says) in [
            (("current-context: a", "current-context: b"), "neither token"),
            (("current-context: a", "current-context: x"), "no `x` among its contexts"),
            (("UEVN", "'%'"), "not base64"),
            (("    certificate-authority-data: UEVN", "    insecure-skip-tls-verify: true"), "must be verified"),
        ] {
            let why = Access::parse(&CONFIG.replace(change.0, change.1), Path::new("."), None).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
        let file = CONFIG.replace("token: hunter2", "tokenFile: here/token");
        let access = Access::parse(&file, Path::new("/etc"), Some("a")).unwrap();
        assert!(matches!(access.login, Login::TokenFile(path) if path == Path::new("/etc/here/token")));
    }
}
