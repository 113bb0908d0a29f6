//! A certificate authority and a server certificate of it, made by the `openssl` command.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::cache::chown;
use crate::process::run_checked;

/// Writes `ca.crt`, `server.crt` and `server.key` to `dir`. The server's certificate is no authority itself, as
/// strict clients demand.
pub(crate) fn make_certificates(dir: &Path, owner: Option<(u32, u32)>) -> Result<()> {
    fs::create_dir_all(dir)?;
    let openssl = |line: &str| run_checked(Command::new("openssl").args(line.split(' ')).current_dir(dir));
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 3650 -subj /CN=weir-test-authority")?;
    openssl("req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost")?;
    fs::write(
        dir.join("ext"),
        "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n",
    )?;
    openssl("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 3650 -extfile ext")?;
    let key = dir.join("server.key");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    if let Some((uid, gid)) = owner {
        chown(&key, uid, gid)?;
    }
    Ok(())
}
