//! The way out: which addresses a URL that a tenant can influence may lead to.
//!
//! Server-side request forgery is OWASP API7:2023. On Lambda the Runtime API listens on loopback and the credentials of the
//! execution role are one request away, so loopback is refused always, unless a development switch says otherwise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::Config;

/// Why a URL may not be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no URL.
    #[error("egress_refused: not a URL")]
    Unreadable,
    /// It does not start with `https`.
    #[error("egress_refused: only https URLs are fetched")]
    Scheme,
    /// It carries a user name or password.
    #[error("egress_refused: a URL may not carry credentials")]
    Credentials,
    /// It leads to an address that is not public.
    #[error("egress_refused: {0} leads to an address that is not public")]
    Address(String),
}

/// Parses a URL, once, and checks all that can be checked before its name is resolved. Decimal, octal and hexadecimal
/// forms of an IPv4 address are addresses to the parser, and so to this check.
///
/// # Errors
/// [`Refused`], for the model and the person to read.
pub fn check(text: &str, config: Config) -> Result<Url, Refused> {
    let url = Url::parse(text).map_err(|_| Refused::Unreadable)?;
    let Some(host) = url.host() else {
        return Err(Refused::Unreadable);
    };
    let literal = match host {
        url::Host::Ipv4(address) => Some(IpAddr::V4(address)),
        url::Host::Ipv6(address) => Some(IpAddr::V6(address)),
        url::Host::Domain(_) => None,
    };
    let is_local =
        literal.is_some_and(|address| address.is_loopback()) || url.host_str() == Some("localhost");
    let plain_allowed = config.allow_loopback && is_local;
    if url.scheme() != "https" && !(plain_allowed && url.scheme() == "http") {
        return Err(Refused::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refused::Credentials);
    }
    match literal {
        Some(address) if !is_allowed(address, config) => Err(Refused::Address(address.to_string())),
        _ => Ok(url),
    }
}

/// Whether a connection to `address` may be made.
#[must_use]
pub fn is_allowed(address: IpAddr, config: Config) -> bool {
    let address = address.to_canonical();
    if address.is_loopback() {
        return config.allow_loopback;
    }
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Everything but the special-purpose blocks of the IANA IPv4 registry.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocol = a == 192 && b == 0 && (c == 0 || c == 2);
    let relay = (a, b, c) == (192, 88, 99);
    let benchmark = a == 198 && (18..20).contains(&b);
    let documentation = (a, b, c) == (198, 51, 100) || (a, b, c) == (203, 0, 113);
    !(address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || shared
        || protocol
        || relay
        || benchmark
        || documentation)
}

/// Global unicast (`2000::/3`) without the blocks that embed or document other addresses.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let global = a & 0xe000 == 0x2000;
    let translated = a == 0x2002 || (a == 0x2001 && b < 0x0200);
    let documentation = (a == 0x2001 && b == 0x0db8) || (a == 0x3fff && b < 0x1000);
    global && !translated && !documentation
}

/// Resolves names for the HTTP client and hands out only checked addresses, so the address that was checked is the one
/// that is connected to. One refused address refuses the name.
pub(super) struct Resolver(pub(super) Config);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let config = self.0;
        Box::pin(async move {
            let addresses: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if addresses
                .iter()
                .any(|address| !is_allowed(address.ip(), config))
            {
                return Err(Refused::Address(name.as_str().to_owned()).into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Config = Config {
        allow_loopback: false,
    };
    const OPEN: Config = Config {
        allow_loopback: true,
    };

    #[test]
    fn addresses_that_are_not_public_are_refused_in_every_spelling() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:10.0.0.1]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[ff02::1]",
            "[2002:7f00:1::]",
            "[64:ff9b::7f00:1]",
            "[2001:db8::1]",
        ] {
            let refused = check(&format!("https://{host}/"), STRICT);
            assert!(
                matches!(refused, Err(Refused::Address(_))),
                "{host}: {refused:?}"
            );
        }
        for host in ["93.184.215.14", "[2606:2800:21f:cb07::1]", "example.com"] {
            assert!(check(&format!("https://{host}/"), STRICT).is_ok(), "{host}");
        }
    }

    #[test]
    fn only_https_without_credentials_leaves() {
        assert_eq!(check("http://example.com/", STRICT), Err(Refused::Scheme));
        assert_eq!(
            check("file:///etc/passwd", STRICT),
            Err(Refused::Unreadable)
        );
        assert_eq!(
            check("https://a:b@example.com/", STRICT),
            Err(Refused::Credentials)
        );
        assert_eq!(check("example.com", STRICT), Err(Refused::Unreadable));
    }

    #[test]
    fn the_development_switch_opens_loopback_and_nothing_else() {
        assert!(check("http://127.0.0.1:8080/x", OPEN).is_ok());
        assert!(check("http://localhost:8080/x", OPEN).is_ok());
        assert_eq!(check("http://example.com/", OPEN), Err(Refused::Scheme));
        assert!(check("https://169.254.169.254/", OPEN).is_err());
    }

    #[tokio::test]
    async fn names_are_checked_by_what_they_resolve_to() {
        let name = || "localhost".parse::<Name>().unwrap();
        assert!(Resolver(STRICT).resolve(name()).await.is_err());
        assert!(Resolver(OPEN).resolve(name()).await.is_ok());
    }
}
