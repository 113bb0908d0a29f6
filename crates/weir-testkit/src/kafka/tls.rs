//! Certificates for a broker and a client, by the `openssl` program.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{PASSWORD, USER};
use crate::process::run_checked;

/// Makes two authorities, the broker's certificate for `localhost` (no address), and a client's, in this folder.
pub(super) fn make(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let openssl = |args: &[&str]| run_checked(Command::new("openssl").args(args).current_dir(folder)).map(drop);
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    for name in ["ca", "other-ca"] {
        let (key, pem, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN=weir test {name}"));
        let own = ["-keyout", &key, "-out", &pem, "-subj", &subject, "-days", "2"];
        openssl(&[&["req", "-x509"][..], &new_key, &own].concat())?;
    }
    for (name, subject, extension) in [
        ("broker", "/CN=localhost", "subjectAltName=DNS:localhost"),
        ("client", "/CN=weir client", "extendedKeyUsage=clientAuth"),
    ] {
        let (key, request, pem, more) =
            (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"), format!("{name}.extensions"));
        std::fs::write(folder.join(&more), extension)?;
        openssl(&[&["req"][..], &new_key, &["-keyout", &key, "-out", &request, "-subj", subject]].concat())?;
        openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            &more,
            "-out",
            &pem,
        ])?;
    }
    // A broker wants key and certificate in one file.
    let both = [std::fs::read(folder.join("broker.key"))?, std::fs::read(folder.join("broker.pem"))?].concat();
    std::fs::write(folder.join("broker-both.pem"), both)?;
    Ok(())
}

/// What the broker is told of them.
pub(super) fn properties(folder: &Path) -> String {
    let (both, ca) = (folder.join("broker-both.pem"), folder.join("ca.pem"));
    format!(
        "ssl.keystore.type=PEM\nssl.keystore.location={}\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
         listener.name.tls.ssl.client.auth=required\n\
         listener.name.tlspasswords.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256\n\
         listener.name.tlspasswords.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";\n\
         listener.name.tlspasswords.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n",
        both.display(),
        ca.display()
    )
}
