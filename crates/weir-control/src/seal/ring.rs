//! One value sealed: AES-256-GCM, each bound to the row that it stands in.
//!
//! Keys come from `WEIR_SEAL_KEY` (base64 of 32 bytes; several separated by commas: the first one seals, all of them open) and from
//! `<data>/seal.key`, which is made on the first start when the variable is not set. A sealed value is
//!
//! ```text
//! 1 (version) ‖ key id (8) ‖ nonce (12) ‖ ciphertext ‖ tag (16)
//! ```
//!
//! Tenant, table and row are authenticated with it: a sealed value that was copied to another row or tenant does not open.
//! Losing the key loses the secrets; a backup of the database holds none in clear.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};
use weir_error::{Error, Kind, Result, Secret};
use weir_store::model::{SealedSecret, TenantId};

/// The variable with the keys.
pub const VARIABLE: &str = "WEIR_SEAL_KEY";
/// The file with the key, in the data folder.
pub const FILE: &str = "seal.key";

const VERSION: u8 = 1;
const ID_LEN: usize = 8;
const HEAD_LEN: usize = 1 + ID_LEN + NONCE_LEN;

/// Where a sealed value stands. It opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Whose it is.
    pub tenant: &'a TenantId,
    /// `connection`, `secret`, `subscription`.
    pub table: &'a str,
    /// The row's name.
    pub row: &'a str,
}

impl Place<'_> {
    /// Every part with its length, so that no two places read the same.
    fn authenticated(&self) -> Vec<u8> {
        let mut out = b"weir-seal-1".to_vec();
        for part in [self.tenant.as_str(), self.table, self.row] {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part.as_bytes());
        }
        out
    }
}

struct Key {
    id: [u8; ID_LEN],
    aead: LessSafeKey,
}

impl Key {
    fn new(bytes: &[u8; 32]) -> Result<Self> {
        let aead = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| Error::internal("a 32-byte key was refused"))?;
        let mut digest = Sha256::new();
        digest.update(b"weir-seal-key-id");
        digest.update(bytes);
        let mut id = [0; ID_LEN];
        id.copy_from_slice(&digest.finalize()[..ID_LEN]);
        Ok(Self { id, aead: LessSafeKey::new(aead) })
    }
}

/// The keys of this platform.
pub struct KeyRing {
    /// The first one seals.
    keys: Vec<Key>,
    random: SystemRandom,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").field("keys", &self.ids()).finish()
    }
}

impl KeyRing {
    /// The keys of `variable` (the value of `WEIR_SEAL_KEY`) and the one in `<data>/seal.key`, which still opens what it sealed
    /// before the variable was set. Without a variable the file is made if there is none, with mode 0600. Several processes may do this at the same time.
    pub fn load(data_dir: &Path, variable: Option<&Secret>) -> Result<Self> {
        let path = data_dir.join(FILE);
        let mut keys = Vec::new();
        for text in variable.map(Secret::expose).unwrap_or_default().split(',').map(str::trim).filter(|text| !text.is_empty()) {
            keys.push(key_of(text).map_err(|error| error.at(VARIABLE))?);
        }
        if variable.is_some() && keys.is_empty() {
            return Err(Error::new("WEIR-SEAL-001", Kind::Spec, format!("{VARIABLE} is set and holds no key")).hint(HOW));
        }
        match read(&path) {
            Ok(text) => keys.push(key_of(text.expose().trim()).map_err(|error| error.at(path.display().to_string()))?),
            Err(error) if error.kind() != Kind::NotFound => return Err(error.at(path.display().to_string())),
            Err(_) if !keys.is_empty() => {}
            Err(_) => keys.push(key_of(make(data_dir, &path)?.expose().trim())?),
        }
        let mut seen = std::collections::BTreeSet::new();
        keys.retain(|key| seen.insert(key.id));
        Ok(Self { keys, random: SystemRandom::new() })
    }

    /// A ring of one new key that is kept nowhere; for tests and for `--dev` without a data folder.
    pub fn generate() -> Result<Self> {
        let random = SystemRandom::new();
        Ok(Self { keys: vec![Key::new(&fresh(&random)?)?], random })
    }

    /// Ids of the keys as hexadecimal; the first one seals. Not secret.
    pub fn ids(&self) -> Vec<String> {
        self.keys.iter().map(|key| hex(&key.id)).collect()
    }

    /// Seals bytes for one place.
    pub fn seal(&self, place: &Place<'_>, plain: &[u8]) -> Result<SealedSecret> {
        let key = self.keys.first().ok_or_else(|| Error::internal("a key ring without a key"))?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| Error::internal("the system gives no random numbers"))?;
        let mut body = plain.to_vec();
        key.aead
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place.authenticated()), &mut body)
            .map_err(|_| Error::internal("a value could not be sealed"))?;
        let mut out = Vec::with_capacity(HEAD_LEN + body.len());
        out.push(VERSION);
        out.extend_from_slice(&key.id);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&body);
        Ok(SealedSecret(out))
    }

    /// Opens what was sealed for this place.
    pub fn open(&self, place: &Place<'_>, sealed: &SealedSecret) -> Result<Vec<u8>> {
        let at = |error: Error| error.at(format!("{} `{}`", place.table, place.row));
        let damaged = || {
            at(Error::new("WEIR-SEAL-003", Kind::Data, "a sealed secret does not open in this place"))
                .because("it was changed, or copied from another row or tenant")
                .hint("set the secret again")
        };
        let bytes = &sealed.0;
        if bytes.len() < HEAD_LEN + AES_256_GCM.tag_len() || bytes[0] != VERSION {
            return Err(damaged());
        }
        let (head, body) = bytes.split_at(HEAD_LEN);
        let (id, nonce) = head[1..].split_at(ID_LEN);
        let key = self.keys.iter().find(|key| key.id == id).ok_or_else(|| {
            at(Error::new(
                "WEIR-SEAL-002",
                Kind::Auth,
                format!("a secret was sealed with the key {}, which is not here", hex(id)),
            ))
            .hint("put that key into WEIR_SEAL_KEY behind the present one, or restore <data>/seal.key; or set the secret again")
        })?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let mut body = body.to_vec();
        let plain = key.aead.open_in_place(nonce, Aad::from(place.authenticated()), &mut body).map_err(|_| damaged())?;
        let length = plain.len();
        body.truncate(length);
        Ok(body)
    }

    /// As [`KeyRing::seal`], for text.
    pub fn seal_text(&self, place: &Place<'_>, plain: &Secret) -> Result<SealedSecret> {
        self.seal(place, plain.expose().as_bytes())
    }

    /// As [`KeyRing::open`], for text.
    pub fn open_text(&self, place: &Place<'_>, sealed: &SealedSecret) -> Result<Secret> {
        String::from_utf8(self.open(place, sealed)?).map(Secret::new).map_err(|_| Error::internal("a sealed text is no UTF-8"))
    }

    /// Whether the present key sealed it. If not, it should be sealed anew before the old key goes away.
    pub fn is_current(&self, sealed: &SealedSecret) -> bool {
        self.keys.first().is_some_and(|key| sealed.0.get(1..1 + ID_LEN) == Some(key.id.as_slice()))
    }
}

const HOW: &str = "a key is 32 random bytes in base64: head -c 32 /dev/urandom | base64";

fn key_of(text: &str) -> Result<Key> {
    let wrong = |why: &str| Error::new("WEIR-SEAL-001", Kind::Spec, "a sealing key cannot be used").because(why).hint(HOW);
    let bytes = STANDARD.decode(text).map_err(|_| wrong("it is not base64"))?;
    let bytes: [u8; 32] =
        bytes.try_into().map_err(|bytes: Vec<u8>| wrong(&format!("it has {} bytes instead of 32", bytes.len())))?;
    Key::new(&bytes)
}

fn fresh(random: &SystemRandom) -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    random.fill(&mut bytes).map_err(|_| Error::internal("the system gives no random numbers"))?;
    Ok(bytes)
}

fn read(path: &Path) -> Result<Secret> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Error::new("WEIR-SEAL-004", Kind::Io, "others may read the sealing key")
            .because(format!("its mode is {:03o}", mode & 0o777))
            .hint("chmod 600 seal.key"));
    }
    Ok(Secret::new(fs::read_to_string(path)?))
}

/// Makes the file whole or not at all; of two processes that do so, the first wins and both use its key.
fn make(data_dir: &Path, path: &Path) -> Result<Secret> {
    fs::create_dir_all(data_dir)?;
    let random = SystemRandom::new();
    let text = STANDARD.encode(fresh(&random)?);
    let mut suffix = [0; 8];
    random.fill(&mut suffix).map_err(|_| Error::internal("the system gives no random numbers"))?;
    let draft = data_dir.join(format!(".{FILE}.{}", hex(&suffix)));
    let made = (|| -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(format!("{text}\n").as_bytes())?;
        file.sync_all()?;
        fs::hard_link(&draft, path)?;
        fs::File::open(data_dir)?.sync_all()
    })();
    let _ = fs::remove_file(&draft);
    match made {
        Ok(()) => Ok(Secret::new(text)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(path),
        Err(error) => Err(Error::from(error).at(path.display().to_string())),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"hunter2";

    fn place<'a>(tenant: &'a TenantId, row: &'a str) -> Place<'a> {
        Place { tenant, table: "secret", row }
    }

    #[test]
    fn a_sealed_value_opens_in_its_own_row_only() {
        let (ring, acme, other) = (KeyRing::generate().unwrap(), TenantId::from("acme"), TenantId::from("other"));
        let sealed = ring.seal(&place(&acme, "pw"), PLAIN).unwrap();
        assert_eq!(ring.open(&place(&acme, "pw"), &sealed).unwrap(), PLAIN);
        for elsewhere in [place(&other, "pw"), place(&acme, "p"), Place { table: "connection", ..place(&acme, "pw") }] {
            assert_eq!(ring.open(&elsewhere, &sealed).unwrap_err().code(), "WEIR-SEAL-003");
        }
        // `ab` + `c` is not `a` + `bc`.
        let sealed = ring.seal(&Place { tenant: &acme, table: "ab", row: "c" }, PLAIN).unwrap();
        assert!(ring.open(&Place { tenant: &acme, table: "a", row: "bc" }, &sealed).is_err());
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let (ring, acme) = (KeyRing::generate().unwrap(), TenantId::from("acme"));
        let sealed = ring.seal(&place(&acme, "pw"), PLAIN).unwrap();
        for at in 0..sealed.0.len() {
            let mut changed = sealed.clone();
            changed.0[at] ^= 1;
            assert!(ring.open(&place(&acme, "pw"), &changed).is_err(), "byte {at}");
            assert!(ring.open(&place(&acme, "pw"), &SealedSecret(sealed.0[..at].to_vec())).is_err(), "cut at {at}");
        }
        assert_ne!(ring.seal(&place(&acme, "pw"), PLAIN).unwrap(), sealed, "a nonce was used twice");
    }

    #[test]
    fn after_a_rotation_old_values_open_and_new_ones_use_the_new_key() {
        let (folder, acme) = (tempfile::tempdir().unwrap(), TenantId::from("acme"));
        let first = KeyRing::load(folder.path(), None).unwrap();
        let old = first.seal(&place(&acme, "pw"), PLAIN).unwrap();
        let new_key = Secret::new(STANDARD.encode([7; 32]));
        let second = KeyRing::load(folder.path(), Some(&new_key)).unwrap();
        assert_eq!(second.open(&place(&acme, "pw"), &old).unwrap(), PLAIN);
        assert!(!second.is_current(&old));
        let new = second.seal(&place(&acme, "pw"), PLAIN).unwrap();
        assert!(second.is_current(&new));
        let error = first.open(&place(&acme, "pw"), &new).unwrap_err();
        assert_eq!(error.code(), "WEIR-SEAL-002");
        assert!(error.to_string().contains(&second.ids()[0]), "{error}");
        assert_eq!(second.ids().len(), 2);
    }

    #[test]
    fn the_key_file_is_private_and_made_once_by_many() {
        let folder = tempfile::tempdir().unwrap();
        let ids: Vec<_> = std::thread::scope(|scope| {
            let made: Vec<_> = (0..8).map(|_| scope.spawn(|| KeyRing::load(folder.path(), None).unwrap().ids())).collect();
            made.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let path = folder.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "drafts are gone");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(KeyRing::load(folder.path(), None).unwrap_err().code(), "WEIR-SEAL-004");
    }

    #[test]
    fn a_bad_key_is_told_without_showing_it() {
        let folder = tempfile::tempdir().unwrap();
        for bad in ["", " , ", "hunter2hunter2", "c2hvcnQ="] {
            let error = KeyRing::load(folder.path(), Some(&Secret::new(bad))).unwrap_err();
            assert_eq!(error.code(), "WEIR-SEAL-001", "{bad}");
            assert!(bad.trim().len() < 5 || !format!("{error:?}").contains(bad), "{error:?}");
        }
        assert!(!folder.path().join(FILE).exists());
    }
}
