//! Asking resolvers by real packets. The only file that names hickory-resolver.

use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use policy_schema::DomainName;
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Who asks some resolvers, in their order, and keeps nothing of what they say.
pub struct Asker(TokioResolver);

/// Why a name has no address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct AskError(String);

impl Asker {
    /// Asks these, at port 53.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn new(servers: &[IpAddr]) -> Result<Self, AskError> {
        let servers = servers.iter().map(|server| NameServerConfig::udp_and_tcp(*server)).collect();
        let config = ResolverConfig::from_name_servers(servers);
        let mut resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = resolver.options_mut();
        options.timeout = PATIENCE;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // A lookup that no packet answers binds nothing.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let resolver = resolver.build().map_err(|error| AskError(error.to_string()))?;
        Ok(Self(resolver))
    }

    /// Looks up the addresses of a name, of both families. Returns how long the answer is good for.
    ///
    /// # Errors
    /// [`AskError`]: there is no address, or no server answers.
    pub async fn ask(&self, name: &DomainName) -> Result<Duration, AskError> {
        // With a dot at its end no search list applies.
        let answer =
            self.0.lookup_ip(format!("{name}.")).await.map_err(|error| AskError(error.to_string()))?;
        Ok(answer.valid_until().saturating_duration_since(Instant::now()))
    }
}
