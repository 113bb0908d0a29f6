//! Everything a service needs, made once.

use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use weir_error::{Error, Kind, Result};
use weir_secrets::vault::{Keeper, VaultConfig, VaultLogin};
use weir_store::Store;

use crate::access::Access;
use crate::config::{Effective, Settings, VaultAuth, show};
use crate::files::TenantFiles;
use crate::monitoring::{self, Registry, SeriesStore};
use crate::seal::KeyRing;
use crate::workbench::Workbench;
use crate::worker::{Checkpoints, Cluster, Errands, Launcher, Signals};

/// Errands at the same time in one process.
const ERRANDS: usize = 4;

/// The platform of one process. Cheap to clone. Services get new fields here; [`Platform::open`] fills them.
#[derive(Clone)]
pub struct Platform {
    /// Settings in effect.
    pub settings: Arc<Settings>,
    /// Every setting with its value and where it came from, as `weir config show --json` prints them; without secrets. Empty where nobody said.
    pub effective: Arc<serde_json::Value>,
    /// Pipelines and connectors.
    pub workbench: Arc<dyn Workbench>,
    /// The database.
    pub store: Store,
    /// Who asks.
    pub access: Access,
    /// The login at Vault, one for the process; `None` without Vault.
    pub vault: Option<Arc<Keeper>>,
    /// Keys of the sealed secrets.
    pub keys: Arc<KeyRing>,
    /// Starts the processes of runs and errands.
    pub launcher: Launcher,
    /// Connection tests, discoveries, previews.
    pub errands: Errands,
    /// Wakes this process's workers: a run was queued, a run was cancelled. Only saves time; the database decides.
    pub signals: Signals,
    /// What this process counts of itself.
    pub metrics: Arc<Registry>,
    /// Where tenants' files are.
    pub files: Arc<TenantFiles>,
    /// Metric points.
    pub series: Arc<dyn SeriesStore>,
    /// Where runs keep their checkpoints; `None` = in the job's folder.
    pub checkpoints: Option<Arc<dyn Checkpoints>>,
    /// Where runs go that are no processes of this machine; `None` = there is no such place.
    pub cluster: Option<Arc<dyn Cluster>>,
}

impl Platform {
    /// Opens the database and the keys that the settings name.
    pub async fn open(settings: Settings, workbench: Arc<dyn Workbench>) -> Result<Self> {
        // Databases, keys and tenants' files: for this user only, unless somebody has made the folder otherwise.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&settings.data_dir)
            .map_err(|error| Error::from(error).at(settings.data_dir.display().to_string()))?;
        let store = Store::open(&settings.database_url, &settings.data_dir).await?;
        let keys = KeyRing::load(&settings.data_dir, settings.seal_key.as_ref())?;
        let access = Access::new(store.clone(), &settings)?;
        let vault = vault_keeper(&settings)?;
        let launcher = Launcher::new(None)?;
        let errands = Errands::new(launcher.clone(), ERRANDS);
        let series = monitoring::series_store(&settings, &store)?;
        let files = TenantFiles::new(settings.files.clone())?;
        Ok(Self {
            settings: Arc::new(settings),
            effective: Arc::default(),
            workbench,
            store,
            access,
            vault,
            keys: Arc::new(keys),
            launcher,
            errands,
            signals: Signals::default(),
            metrics: Arc::new(Registry::default()),
            files: Arc::new(files),
            series,
            checkpoints: None,
            cluster: None,
        })
    }

    /// The same with checkpoints in a database that machines share.
    pub fn with_checkpoints(mut self, checkpoints: Option<Arc<dyn Checkpoints>>) -> Self {
        self.checkpoints = checkpoints;
        self
    }

    /// The same with a cluster for runs.
    pub fn with_cluster(mut self, cluster: Option<Arc<dyn Cluster>>) -> Self {
        self.cluster = cluster;
        self
    }

    /// The same, knowing where its settings came from.
    pub fn with_effective(mut self, effective: &[Effective]) -> Self {
        self.effective = Arc::new(show::to_json(effective));
        self
    }

    /// The same with another program for the processes of runs and errands; for tests, whose own program knows no `execute`.
    pub fn with_program(mut self, program: std::path::PathBuf) -> Result<Self> {
        self.launcher = Launcher::new(Some(program))?;
        self.errands = Errands::new(self.launcher.clone(), ERRANDS);
        Ok(self)
    }
}

/// The login at Vault that the settings name; nothing is asked of it yet.
pub fn vault_keeper(settings: &Settings) -> Result<Option<Arc<Keeper>>> {
    let Some((address, login)) = &settings.vault else { return Ok(None) };
    let login = match login {
        VaultAuth::Token(token) => VaultLogin::Token(token.clone()),
        VaultAuth::AppRole { role_id, secret_id } => {
            VaultLogin::AppRole { role_id: role_id.clone(), secret_id: secret_id.clone() }
        }
    };
    let mut config = VaultConfig::new(address.clone(), login);
    config.namespace.clone_from(&settings.vault_namespace);
    config.ca_cert.clone_from(&settings.vault_ca_cert);
    let keeper = Keeper::new(&config).map_err(|why| {
        Error::new("WEIR-CONFIG-003", Kind::Spec, "Vault cannot be used as it is set")
            .because(why)
            .hint("`weir config show` prints VAULT_ADDRESS, VAULT_CACERT and where they come from")
    })?;
    Ok(Some(Arc::new(keeper)))
}
