//! A connection: the driver's client, made from the options under the limits of the process, and the few commands that everything needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};
use mongodb::options::{
    AuthMechanism, ClientOptions, CollectionOptions, Credential, ReadConcern, ReadPreference, SelectionCriteria, ServerAddress,
    Tls, TlsOptions,
};
use mongodb::results::CollectionType;
use mongodb::{Collection, Database};
use weir_connect::{Error, Kind, Result, Secret, guard};

use super::config::{Choice, ConnectionOptions, wrong};
use super::errors::{self, shown};
use super::tunnel::Tunnel;

const CONNECT: Duration = Duration::from_secs(10);

/// A client of one database.
#[derive(Clone)]
pub struct Client {
    /// The driver's.
    pub driver: mongodb::Client,
    /// The database of the options.
    pub database: Database,
    /// `host:port/database`, for messages; never with credentials.
    pub place: String,
    _tunnel: Option<Arc<Tunnel>>,
}

/// A collection or view of the database.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// It has an index on `_id` and changes.
    pub plain: bool,
}

impl ConnectionOptions {
    /// The address to parse: the URL, or one made from the parts.
    fn address(&self) -> Result<Secret> {
        let mut url = match &self.url {
            Some(url) => url.expose().to_owned(),
            None => format!("mongodb://{}/", self.hosts.as_deref().unwrap_or("localhost:27017")),
        };
        if !url.starts_with("mongodb://") && !url.starts_with("mongodb+srv://") {
            return Err(wrong("`url` is no address of MongoDB", "write mongodb://host:27017/database"));
        }
        if let Some(parameters) = self.connection_options.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
            let after = url.find("://").map_or(0, |at| at + 3);
            if !url[after..].contains('/') {
                url.push('/');
            }
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(parameters.trim_start_matches(['?', '&']));
        }
        Ok(Secret::new(url))
    }

    /// Hosts and database without credentials, as far as they can be told without connecting.
    pub fn place(&self) -> String {
        let url = self.url.as_ref().map(|url| url.expose().to_owned()).unwrap_or_default();
        let after = url.split_once("://").map_or("", |(_, rest)| rest);
        let plain = after.split('?').next().unwrap_or_default();
        let plain = plain.rsplit_once('@').map_or(plain, |(_, hosts)| hosts);
        let (hosts, named) = plain.split_once('/').unwrap_or((plain, ""));
        let hosts = if hosts.is_empty() { self.hosts.as_deref().unwrap_or("localhost:27017") } else { hosts };
        match self.database.as_deref().unwrap_or(named) {
            "" => hosts.to_owned(),
            database => format!("{hosts}/{database}"),
        }
    }

    /// What can be said without connecting.
    pub fn validate(&self) -> Result<()> {
        self.address()?;
        if self.url.is_some() && self.hosts.is_some() {
            return Err(wrong("`url` and `hosts` exclude each other", "keep one of them"));
        }
        if self.password.is_some() && self.user.is_none() && self.url.is_none() {
            return Err(wrong("`password` without `user`", "give both"));
        }
        Ok(())
    }

    async fn driver_options(&self, base: &Path) -> Result<ClientOptions> {
        self.validate()?;
        let mut options = ClientOptions::parse(self.address()?.expose()).await.map_err(|error| shown(error, "url"))?;
        if let Some(user) = &self.user {
            let mut credential = options.credential.take().unwrap_or_default();
            credential.username = Some(user.clone());
            options.credential = Some(credential);
        }
        if let Some(credential) = &mut options.credential {
            if let Some(password) = &self.password {
                credential.password = Some(password.expose().to_owned());
            }
            if let Some(source) = &self.auth_source {
                credential.source = Some(source.clone());
            }
        }
        let files = self.ssl_root_cert.is_some() || self.ssl_cert.is_some();
        let mut tls = match (self.tls, options.tls.take()) {
            (Some(false), _) if !files => Some(Tls::Disabled),
            (Some(false), _) => return Err(wrong("certificates without TLS", "leave `tls: false` out")),
            (Some(true), None | Some(Tls::Disabled)) => Some(Tls::Enabled(TlsOptions::default())),
            (None, None | Some(Tls::Disabled)) if files => Some(Tls::Enabled(TlsOptions::default())),
            (_, tls) => tls,
        };
        if let Some(Tls::Enabled(tls)) = &mut tls {
            let given = |path: &Option<PathBuf>| path.as_ref().map(|path| base.join(path));
            tls.ca_file_path = given(&self.ssl_root_cert).or(tls.ca_file_path.take());
            tls.cert_key_file_path = given(&self.ssl_cert).or(tls.cert_key_file_path.take());
            for path in [&mut tls.ca_file_path, &mut tls.cert_key_file_path].into_iter().flatten() {
                *path = guard::current().file(path)?;
            }
        }
        options.tls = tls;
        options.app_name = Some("weir".into());
        let wait = self.connect_timeout_secs.map_or(CONNECT, Duration::from_secs);
        options.connect_timeout = Some(wait);
        options.server_selection_timeout = Some(wait);
        confine(&options).await?;
        Ok(options)
    }
}

/// Refuses what the limits of the process do not permit, before the driver tries for a while.
async fn confine(options: &ClientOptions) -> Result<()> {
    let guard = guard::current();
    for host in &options.hosts {
        match host {
            ServerAddress::Tcp { host, port } if !guard.is_open() => {
                let port = port.unwrap_or(27017);
                guard.resolve(host, port).await.map_err(|error| unknown_host(host, error))??;
            }
            ServerAddress::Unix { path } => guard.permit_local_socket(&path.display().to_string())?,
            _ => {}
        }
    }
    let machine = matches!(options.credential, Some(Credential { mechanism: Some(AuthMechanism::MongoDbOidc), .. }));
    if machine && !guard.is_open() {
        return Err(Error::new(
            "WEIR-MONGO-004",
            Kind::Privilege,
            "the platform does not let pipelines use the machine's own identity",
        )
        .hint("give `user` and `password`"));
    }
    Ok(())
}

fn unknown_host(host: &str, error: std::io::Error) -> Error {
    Error::new("WEIR-MONGO-002", Kind::Connect, format!("the host `{host}` is not known")).because(error)
}

impl Client {
    /// Makes the client. The driver connects when something is asked.
    pub async fn open(options: &ConnectionOptions, base: &Path) -> Result<Self> {
        let mut driver = options.driver_options(base).await?;
        let name = options.database.clone().or_else(|| driver.default_database.clone()).ok_or_else(|| {
            wrong(
                "the connection does not say which database",
                "give `database`, or put it into the address: mongodb://host/shop",
            )
        })?;
        let hosts: Vec<_> = driver.hosts.iter().map(ToString::to_string).collect();
        let place = format!("{}/{name}", hosts.join(","));
        let tunnel = match guard::current().is_open() {
            true => None,
            false => Some(Tunnel::open().await.map_err(Error::from)?),
        };
        if let Some(tunnel) = &tunnel {
            driver.socks5_proxy = Some(tunnel.proxy.clone());
        }
        let driver = mongodb::Client::with_options(driver).map_err(|error| shown(error, &place))?;
        Ok(Self { database: driver.database(&name), driver, place, _tunnel: tunnel })
    }

    /// A collection, its documents as bytes, read as the majority of the servers has them.
    pub fn collection(&self, name: &str) -> Collection<RawDocumentBuf> {
        let options = CollectionOptions::builder().read_concern(ReadConcern::majority()).build();
        self.database.collection_with_options(name, options)
    }

    /// A command on the database.
    pub async fn command(&self, command: Document) -> Result<Document> {
        self.database
            .run_command(command)
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .await
            .map_err(|error| shown(error, &self.place))
    }

    /// What the server says of itself.
    pub async fn hello(&self) -> Result<Document> {
        self.command(doc! { "hello": 1 }).await
    }

    /// The time of the last operation on the primary; an error if there is no replica set.
    pub async fn operation_time(&self) -> Result<Timestamp> {
        let answer = self.command(doc! { "ping": 1 }).await?;
        match answer.get("operationTime") {
            Some(Bson::Timestamp(time)) => Ok(*time),
            _ => Err(errors::standalone(&self.place)),
        }
    }

    /// The collections that a choice means, by name. A name that is written out and is not there is an error.
    pub async fn choose(&self, choice: &Choice, missing_is_fine: bool) -> Result<Vec<Found>> {
        let mut cursor = self.database.list_collections().await.map_err(|error| shown(error, &self.place))?;
        let (mut found, mut all) = (Vec::new(), Vec::new());
        while cursor.advance().await.map_err(|error| shown(error, &self.place))? {
            let specification = cursor.deserialize_current().map_err(|error| shown(error, &self.place))?;
            let name = specification.name;
            all.push(name.clone());
            let named = choice.names().any(|wanted| *wanted == name);
            if choice.takes(&name) && (named || !name.starts_with("system.")) {
                found.push(Found { name, plain: specification.collection_type == CollectionType::Collection });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let gone = |name: &&String| !found.iter().any(|found| found.name == **name);
        if let Some(name) = choice.names().find(gone).filter(|_| !missing_is_fine) {
            return Err(Error::new("WEIR-MONGO-005", Kind::NotFound, format!("there is no collection `{name}`"))
                .at(self.place.clone())
                .hint(others(all)));
        }
        Ok(found)
    }
}

fn others(mut names: Vec<String>) -> String {
    names.sort();
    names.truncate(20);
    if names.is_empty() {
        "the database has no collections that the user may see".into()
    } else {
        format!("there are {}", names.join(", "))
    }
}
