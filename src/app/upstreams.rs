//! The settings of one upstream as its client takes them; secrets are read when it connects.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;

use super::descriptors;
use crate::{
    config::{self, Protocol, SecretText, SupplyError, Transport},
    model::redact,
    upstream::{
        BreakerSettings, Era, Retry, Supply, ToolFilter, UpstreamSettings, UpstreamTransport,
        normalise_url,
    },
};

/// The name of the upstream that serves the built-in agents.
pub(super) const ARCHON: &str = "archon";
/// Longer than any attempt may take: the attempt's own deadline is the shorter one.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_hours(24);

/// The settings of the client of one upstream.
pub(super) fn settings(name: &str, it: &config::Upstream) -> anyhow::Result<UpstreamSettings> {
    let protocol = match it.protocol {
        Protocol::Legacy => Era::Legacy,
        Protocol::Auto => Era::Auto,
    };
    let mut settings = UpstreamSettings::new(name, transport(it)?, protocol);
    settings.call_timeout = CALL_TIMEOUT;
    settings.connect_timeout = Duration::from_secs_f64(it.timeout_seconds);
    settings.open_files = descriptors::of_programs();
    settings.max_concurrent = it.max_concurrent as usize;
    settings.response_bytes_max = usize::try_from(it.response_bytes_max).unwrap_or(usize::MAX);
    settings.retry = Retry {
        attempts_max: it.retry_attempts,
        backoff: Duration::from_millis(it.retry_backoff_ms),
    };
    settings.breaker = BreakerSettings {
        failures_max: it.breaker_failures,
        pause: Duration::from_secs_f64(it.breaker_open_seconds),
    };
    if let Some(patterns) = &it.tools_allow {
        settings.tools_allow = ToolFilter::new(patterns).context("tools_allow")?;
    }
    Ok(settings)
}

fn transport(it: &config::Upstream) -> anyhow::Result<UpstreamTransport> {
    let url = || normalise_url(it.url.as_deref().unwrap_or_default()).context("url");
    Ok(match it.transport {
        Transport::Http => UpstreamTransport::Http { url: url()?, headers: headers(it) },
        Transport::Sse => UpstreamTransport::Sse { url: url()?, headers: headers(it) },
        Transport::Stdio => {
            let (set, passed) = (it.env.clone(), it.env_pass.clone());
            let names: Vec<_> = set.keys().chain(&passed).cloned().chain(["PATH".into()]).collect();
            let read =
                move || config::child_environment(&passed, &set).map_err(|it| it.to_string());
            UpstreamTransport::Stdio {
                command: it.command.clone().context("command is missing")?,
                args: it.args.clone(),
                env: Supply::new(names, read),
            }
        }
    })
}

fn headers(it: &config::Upstream) -> Supply {
    let (headers, bearer) = (it.headers.clone(), it.bearer.clone());
    let authorization = bearer.is_some().then(|| "Authorization".to_owned());
    let names: Vec<_> = headers.keys().cloned().chain(authorization).collect();
    Supply::new(names, move || read(&headers, bearer.as_ref()).map_err(|it| it.to_string()))
}

fn read(
    headers: &BTreeMap<String, SecretText>,
    bearer: Option<&SecretText>,
) -> Result<BTreeMap<String, String>, SupplyError> {
    let resolve = |(name, value): (&String, &SecretText)| {
        let value = value.resolve()?;
        redact::remember_named(name, &value);
        Ok((name.clone(), value))
    };
    let resolved = headers.iter().map(resolve);
    let mut values: BTreeMap<_, _> = resolved.collect::<Result<_, SupplyError>>()?;
    if let Some(bearer) = bearer {
        let bearer = bearer.resolve()?;
        redact::remember(&bearer);
        values.insert("Authorization".to_owned(), format!("Bearer {bearer}"));
    }
    Ok(values)
}
