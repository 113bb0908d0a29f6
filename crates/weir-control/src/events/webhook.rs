//! One HTTP POST to an address that a tenant chose. The name is resolved once, every address of the answer must be permitted, and the
//! connection goes to these addresses; redirects are not followed, no proxy is asked, and nothing of the answer but its status is kept.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use url::{Host, Url};
use weir_egress::Policy;
use weir_error::{Error, Kind, Result, Retry};

/// A receiver has this long for its whole answer.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Clients that are kept; one per host and its addresses.
const MOST_CLIENTS: usize = 64;
/// Longest URL.
const MOST_URL_BYTES: usize = 2048;

/// Sends webhooks under one policy.
pub struct Sender {
    policy: Policy,
    /// Whether the URL may carry a user and a password.
    login: bool,
    resolver: Resolver,
    clients: Mutex<HashMap<(String, Vec<SocketAddr>), Client>>,
}

/// Who answers for names.
enum Resolver {
    System,
    #[cfg(test)]
    Scripted(Mutex<HashMap<String, std::collections::VecDeque<Vec<IpAddr>>>>),
}

impl Resolver {
    async fn look_up(&self, host: &str, port: u16) -> Result<Vec<IpAddr>> {
        let failed =
            || Error::new("WEIR-EVENT-002", Kind::Connect, "the receiver's name has no address").at(host.to_owned()).transient();
        match self {
            Self::System => {
                let found = tokio::time::timeout(Duration::from_secs(5), tokio::net::lookup_host((host, port))).await;
                Ok(found.map_err(|_| failed())?.map_err(|_| failed())?.map(|address| address.ip()).collect())
            }
            #[cfg(test)]
            Self::Scripted(answers) => {
                let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                answers.get_mut(host).and_then(std::collections::VecDeque::pop_front).ok_or_else(failed)
            }
        }
    }
}

impl Sender {
    /// Under this policy.
    pub fn new(policy: Policy) -> Self {
        Self { policy, login: false, resolver: Resolver::System, clients: Mutex::default() }
    }

    /// For the operator's own address: everything may be reached, and the URL may carry a login.
    pub fn operator() -> Self {
        Self { login: true, ..Self::new(Policy::open()) }
    }

    /// What can be said of a URL without resolving its name; for whoever stores one.
    pub fn check(&self, url: &str) -> Result<Url> {
        let wrong = |why: &str| {
            Error::new("WEIR-EVENT-001", Kind::Spec, "this is no address for a webhook")
                .because(why.to_owned())
                .hint("write an absolute http:// or https:// address without user and password")
        };
        if url.len() > MOST_URL_BYTES {
            return Err(wrong("it is longer than 2048 bytes"));
        }
        let url = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        if !self.login && (!url.username().is_empty() || url.password().is_some()) {
            return Err(wrong("it has a user or password; a receiver knows us by the signature"));
        }
        self.policy.permit_url(&url)?;
        Ok(url)
    }

    /// Posts a body. Done = the receiver answered 2xx within ten seconds. The error says whether and when to try again; it tells nothing of
    /// the answer's body, so that nobody reads other systems through it.
    pub async fn post(&self, url: &str, headers: &[(&str, String)], body: Vec<u8>) -> Result<()> {
        let url = self.check(url)?;
        let port = url.port_or_known_default().unwrap_or(443);
        let host = url.host_str().unwrap_or_default().to_owned();
        let addresses = match url.host() {
            Some(Host::Domain(name)) => {
                let found = self.resolver.look_up(name, port).await?;
                self.policy.permitted(name, port, found)?
            }
            // Checked with the URL.
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            None => Vec::new(),
        };
        if addresses.is_empty() {
            return Err(Error::new("WEIR-EVENT-002", Kind::Connect, "the receiver's name has no address").at(host).transient());
        }
        let client = self.client(&host, addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())?;
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).map_err(|_| Error::internal("a header without a name"))?;
            let value = HeaderValue::try_from(value).map_err(|_| Error::internal("a header with a broken value"))?;
            all.insert(name, value);
        }
        let place = host.clone();
        let answer = client.post(url).headers(all).body(body).send().await.map_err(|error| unreachable(&error, host))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let later = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.trim().parse::<u64>().ok());
        let error = Error::new("WEIR-EVENT-004", Kind::Connect, format!("the receiver answered {}", status.as_u16())).at(place);
        Err(match (status.is_redirection(), later) {
            (true, _) => error.hint("redirects are not followed: subscribe with the final address").transient(),
            (false, Some(seconds)) => error.retry(Retry::After(Duration::from_secs(seconds.min(3600)))),
            (false, None) => error.transient(),
        })
    }

    fn client(&self, host: &str, mut addresses: Vec<SocketAddr>) -> Result<Client> {
        addresses.sort_unstable();
        let key = (host.to_owned(), addresses);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .resolve_to_addrs(host, &key.1)
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::internal("no HTTP client").caused_by(error))?;
        if clients.len() >= MOST_CLIENTS {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }
}

/// The reason in one word: the library's text would name addresses.
fn unreachable(error: &reqwest::Error, host: String) -> Error {
    let why = match error {
        e if e.is_timeout() => "it did not answer within ten seconds",
        e if e.is_connect() => "no connection, or no valid certificate",
        _ => "the connection broke",
    };
    Error::new("WEIR-EVENT-003", Kind::Connect, "the receiver cannot be reached").at(host).because(why).transient()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_testkit::{HttpFixture, Reply};

    fn scripted(policy: Policy, names: &[(&str, &[&[&str]])]) -> Sender {
        let answers = names.iter().map(|(name, rounds)| {
            let rounds = rounds.iter().map(|ips| ips.iter().map(|ip| ip.parse().unwrap()).collect()).collect();
            ((*name).to_owned(), rounds)
        });
        Sender { resolver: Resolver::Scripted(Mutex::new(answers.collect())), ..Sender::new(policy) }
    }
    fn allowing(entry: &str) -> Policy {
        Policy::public_and(&[entry.to_owned()]).unwrap()
    }

    /// Every one of these means this machine, a private network or a metadata service to some parser or resolver.
    #[tokio::test]
    async fn no_spelling_of_an_inner_address_is_connected_to() {
        let server = HttpFixture::start().unwrap();
        server.on("/", Reply::status(200));
        let port = server.address().port();
        let sender = Sender::new(Policy::public_and(&[]).unwrap());
        let hosts = [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0x7f.1",
            "017700000001",
            "0177.0.0.1",
            "0177.1",
            "127.0.0.1.",
            "127.000.000.001",
            "0x7F.0x0.0x0.0x1",
            "127.127.127.127",
            "0",
            "0.0.0.0",
            "0x0",
            "00000000000",
            "[::]",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[::ffff:0:127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "LocalHost.",
            "127。0。0。1",
            "１２７.0.0.1",
            "①②⑦.0.0.1",
            "%31%32%37.0.0.1",
            "ｌocalhost",
            "127.0.0.1%00",
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "[::ffff:169.254.169.254]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[fe80::1%25lo]",
            "10.0.0.1",
            "0xa.1",
            "172.16.0.1",
            "192.168.0.1",
            "192.168.257",
            "100.64.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "[fc00::1]",
            "[ff02::1]",
            "user@127.0.0.1",
            "user:password@127.0.0.1",
            "example.org@127.0.0.1",
            "127.0.0.1\\@example.org",
            "127.0.0.1#@example.org",
        ];
        for host in hosts {
            let error = sender.post(&format!("http://{host}:{port}/"), &[], Vec::new()).await.unwrap_err();
            assert!(
                error.code().starts_with("WEIR-EGRESS") || matches!(error.code(), "WEIR-EVENT-001" | "WEIR-EVENT-002"),
                "{host}: {error:?}"
            );
        }
        for scheme in [
            "file:///etc/passwd",
            "gopher://127.0.0.1:6379/_x",
            "ftp://127.0.0.1/",
            "unix:/var/run/docker.sock",
            "//127.0.0.1/",
            "/x",
            "",
        ] {
            assert!(sender.post(scheme, &[], Vec::new()).await.is_err(), "{scheme}");
        }
        assert_eq!(server.requests().len(), 0);
    }

    #[tokio::test]
    async fn a_name_is_resolved_once_and_connected_to_where_it_was_checked() {
        let server = HttpFixture::start().unwrap();
        server.on("/hook", Reply::status(204));
        // The first answer is allowed; a second look-up would get another one. The system does not know the name at all.
        let sender = scripted(allowing("hook.invalid"), &[("hook.invalid", &[&["127.0.0.1"], &["192.0.2.1"]])]);
        let url = format!("http://hook.invalid:{}/hook", server.address().port());
        sender.post(&url, &[("x-a", "b".into())], b"hello".to_vec()).await.unwrap();
        let seen = server.requests();
        assert_eq!((seen.len(), seen[0].text(), seen[0].header("x-a")), (1, "hello".into(), Some("b")));
        assert!(seen[0].header("host").unwrap().starts_with("hook.invalid"));
    }

    #[tokio::test]
    async fn a_name_that_turns_to_an_inner_address_is_refused_at_that_moment() {
        let sender = scripted(
            Policy::public_and(&[]).unwrap(),
            &[("rebind.invalid", &[&["127.0.0.1"], &["93.184.216.34", "10.0.0.1"], &[]])],
        );
        for code in ["WEIR-EGRESS-002", "WEIR-EGRESS-002", "WEIR-EVENT-002"] {
            let error = sender.post("http://rebind.invalid:1/", &[], Vec::new()).await.unwrap_err();
            assert_eq!(error.code(), code);
            assert!(!format!("{error:?}").contains("10.0.0.1"), "{error:?}");
        }
    }

    #[tokio::test]
    async fn redirects_are_not_followed_and_bodies_are_not_told() {
        let inner = HttpFixture::start().unwrap();
        let server = HttpFixture::start().unwrap();
        server.on("/to", Reply::status(307).header("location", format!("http://127.0.0.1:{}/secret", inner.address().port())));
        server.on("/bad", Reply::status(500).body("inner secret"));
        server.on("/busy", Reply::status(429).header("retry-after", "7"));
        let sender = Sender::new(allowing(&format!("127.0.0.1:{}", server.address().port())));
        let post = async |path: &str| {
            sender.post(&format!("http://127.0.0.1:{}{path}", server.address().port()), &[], Vec::new()).await.unwrap_err()
        };
        let redirected = post("/to").await;
        assert!(redirected.advice().unwrap().contains("redirects"), "{redirected:?}");
        assert_eq!(inner.requests().len(), 0);
        let bad = format!("{:?}", post("/bad").await);
        assert!(bad.contains("500") && !bad.contains("secret"), "{bad}");
        assert_eq!(post("/busy").await.retryable(), Retry::After(Duration::from_secs(7)));
    }

    #[tokio::test]
    async fn a_receiver_that_is_not_there_is_named_without_its_address() {
        let sender = scripted(Policy::open(), &[("gone.invalid", &[&["127.0.0.1"]])]);
        let port = weir_testkit::process::free_port().unwrap();
        let error = sender.post(&format!("http://gone.invalid:{port}/"), &[], Vec::new()).await.unwrap_err();
        assert_eq!(error.code(), "WEIR-EVENT-003");
        assert!(!format!("{error:?}").contains("127.0.0.1"), "{error:?}");
    }
}
