//! Looks at everything that a dispatch needs, for `doctor`: says what is wrong and what to do.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{access, clock::SystemClock, recipes, service};
use crate::{
    agents::Agents,
    cli::{Check, Verdict},
    config::{ArchonSetting, ConfigErrors, Environment, Loaded, Server, Settings},
    model::{ARCHON, AgentName, UpstreamStatus},
    ports::{AgentDirectory as _, Clock, Ownership as _},
    runtime::Paths,
    stores::{LockFileOwners, SqliteStore},
    telemetry,
    upstream::{Presence, Upstream},
};

/// How long one upstream may take to say what it has.
const UPSTREAM_MAX: Duration = Duration::from_secs(10);
/// Programs that agents are often bound to.
const COMMANDS: [&str; 3] = ["claude", "codex", "gemini"];

/// Looks at everything, in the order in which things depend on each other.
pub(super) async fn examine(
    environment: &Environment,
    loaded: Result<Loaded, ConfigErrors>,
) -> Vec<Check> {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => return errors.0.iter().map(bad_setting).collect(),
    };
    let settings = loaded.settings;
    let mut checks = vec![good("settings", format!("{} values in force", loaded.explain.len()))];
    checks.extend(loaded.warnings.iter().map(|it| note("settings", it.clone(), "")));
    checks.push(state_dir(&settings));
    checks.extend(log(&settings));
    checks.extend(collector(&settings).await);
    checks.extend(settings.workspaces.iter().map(|it| workspace(it)));
    checks.extend(upstreams_and_agents(&settings).await);
    checks.extend(server(&settings.server).await);
    checks.extend(COMMANDS.iter().map(|it| command(environment, it)));
    checks.push(registration(environment, &settings));
    checks
}

fn bad_setting(error: &crate::config::ConfigError) -> Check {
    bad("settings", error.to_string(), "correct it; `parallel-dispatch config --explain` shows all")
}

fn state_dir(settings: &Settings) -> Check {
    let dir = &settings.state_dir;
    let opened = SqliteStore::open(&dir.join("store.db")).and_then(|_| {
        let owners = LockFileOwners::join(&dir.join("owners"))?;
        Ok(owners.me())
    });
    match opened {
        Ok(_) => good("state directory", format!("{} can be written", dir.display())),
        Err(error) => bad(
            "state directory",
            format!("{}: {error}", dir.display()),
            "free the disk, mend the permissions, or choose another with --state-dir",
        ),
    }
}

fn log(settings: &Settings) -> Option<Check> {
    let error = telemetry::check(&settings.logging).err()?;
    let advice = "make its directory, mend the permissions, or change logging.destination";
    Some(bad("log", error.to_string(), advice))
}

async fn collector(settings: &Settings) -> Option<Check> {
    match telemetry::look(&settings.telemetry.otlp).await {
        Ok(place) => Some(good("collector", format!("{} takes spans", place?))),
        Err(error) => {
            let advice = "start it, correct telemetry.otlp, or set telemetry.otlp.enabled: false";
            Some(bad("collector", error.to_string(), advice))
        }
    }
}

fn workspace(dir: &Path) -> Check {
    let shown = dir.display().to_string();
    match fs::read_dir(dir) {
        Ok(_) if dir.parent().is_none() => note(
            "workspace",
            shown,
            "it is the whole machine; choose a smaller one with --workspace",
        ),
        Ok(_) => good("workspace", shown),
        Err(error) => {
            bad("workspace", format!("{shown}: {error}"), "choose an existing one with --workspace")
        }
    }
}

async fn upstreams_and_agents(settings: &Settings) -> Vec<Check> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let made = Paths::new(&settings.workspaces, &settings.dispatcher.trace_dir)
        .map_err(anyhow::Error::from)
        .and_then(|paths| {
            let upstreams = service::upstreams(settings, &paths, &clock)?;
            let (workspaces, recipes) = (paths.workspaces(), recipes::read(settings)?);
            let agents = service::agents(settings, &upstreams, (workspaces, &clock), recipes);
            Ok((upstreams, agents))
        });
    let (upstreams, agents) = match made {
        Ok(made) => made,
        Err(error) => match error.downcast::<ConfigErrors>() {
            Ok(errors) => return errors.0.iter().map(bad_setting).collect(),
            Err(error) => {
                return vec![bad("upstreams", format!("{error:#}"), "correct the settings")];
            }
        },
    };
    let mut checks = Vec::new();
    let mut down = BTreeSet::new();
    for (name, upstream) in &upstreams.named {
        let is_default = name == ARCHON && settings.archon == ArchonSetting::Default;
        let check = upstream_check(name, upstream, is_default).await;
        if check.verdict == Verdict::Bad {
            down.insert(name.as_str());
        }
        checks.push(check);
    }
    let mut said = BTreeSet::new();
    for name in service::agent_options(settings).keys() {
        let setting = settings.agents.get(name.as_str());
        if setting.is_some_and(|it| it.command.is_some()) {
            checks.push(program_check(&agents, name).await);
            continue;
        }
        let upstream = agents.upstream_of(name).filter(|it| down.contains(it.as_str()));
        checks.push(if setting.is_some_and(|it| it.worker.is_some()) {
            good(&format!("agent {name}"), "its tasks wait for workers that claim them".to_owned())
        } else if let Some(upstream) = upstream {
            let found = format!("upstream {upstream} does not answer, so its tasks would fail");
            note(&format!("agent {name}"), found, "")
        } else {
            agent_check(&agents, name, &mut said).await
        });
    }
    upstreams.close().await;
    checks
}

async fn upstream_check(name: &str, upstream: &Upstream, is_default: bool) -> Check {
    let what = format!("upstream {name}");
    let probe = upstream.probe().await;
    if probe.presence == Presence::Nothing {
        let found = format!("nothing answers on {}", upstream.address());
        return if is_default {
            note(&what, found, "the embedded Archon serves; start an Archon for finished code")
        } else {
            bad(&what, found, "start it, or correct its url (ARCHON_MCP_URL, upstreams)")
        };
    }
    let listed = tokio::time::timeout(UPSTREAM_MAX, upstream.tools()).await;
    let UpstreamStatus { transport, address, .. } = upstream.status();
    let health = match (transport, probe.health) {
        ("http" | "sse", Some(health)) if health.status >= 400 => {
            format!("; /health answers {}", health.status)
        }
        ("http" | "sse", None) => "; /health does not answer".to_owned(),
        (_, Some(_) | None) => String::new(),
    };
    match listed {
        Ok(Ok(tools)) => {
            let found = format!("{address} ({transport}) has {} tools{health}", tools.len());
            good(&what, found)
        }
        Ok(Err(error)) => {
            bad(&what, format!("{error}{health}"), "check what answers at that address")
        }
        Err(_) => bad(
            &what,
            format!("{address} did not list its tools within 10 s{health}"),
            "restart it; if it is an old Archon, set protocol: legacy",
        ),
    }
}

/// The secrets of the HTTP server, where there are any.
async fn server(server: &Server) -> Vec<Check> {
    let mut checks = Vec::new();
    if !server.tokens.is_empty() {
        let names: Vec<_> = server.tokens.keys().map(String::as_str).collect();
        let tokens = Server { oauth: None, ..server.clone() };
        checks.push(match access::access(&tokens) {
            Ok((_, warnings)) if warnings.is_empty() => {
                good("server tokens", format!("of {}", names.join(", ")))
            }
            Ok((_, warnings)) => note("server tokens", warnings.join("; "), ""),
            Err(error) => bad(
                "server tokens",
                format!("{error:#}"),
                "set the variable where the server starts, or mend the file",
            ),
        });
    }
    if let Some(settings) = &server.oauth {
        let found = match access::oauth(settings) {
            Ok(oauth) => oauth.look().await.map_err(anyhow::Error::from),
            Err(error) => Err(error),
        };
        checks.push(match found {
            Ok(n_keys) => good("server oauth", format!("{n_keys} keys of {}", settings.issuer)),
            Err(error) => bad(
                "server oauth",
                format!("{error:#}"),
                "correct server.oauth.jwks, or see whether the authorization server is up",
            ),
        });
    }
    match access::tls(server) {
        Ok(None) => {}
        Ok(Some(_)) => checks.push(good("server tls", "the certificate has its key".to_owned())),
        Err(error) => checks.push(bad(
            "server tls",
            format!("{error:#}"),
            "both files must be PEM and belong together; chmod 600 the key",
        )),
    }
    checks
}

async fn agent_check(agents: &Agents, name: &AgentName, said: &mut BTreeSet<String>) -> Check {
    let what = format!("agent {name}");
    match agents.bind(name).await {
        Ok(binding) => bound(&what, binding.warnings, said),
        // Nobody asked for these: they are there where an Archon can search, or tools are allowed.
        Err(error) if [AgentName::RESEARCH, AgentName::TOOL].contains(&name.as_str()) => {
            note(&what, error.to_string(), "")
        }
        Err(error) => bad(
            &what,
            error.to_string(),
            "set agents.<name>.tool to a tool that the upstream has, or start another upstream",
        ),
    }
}

/// An agent that is a program.
async fn program_check(agents: &Agents, name: &AgentName) -> Check {
    let what = format!("agent {name}");
    match (agents.bind(name).await, agents.program_of(name)) {
        (Ok(_), Some(path)) => good(&what, format!("runs {}", path.display())),
        (Ok(_), None) => good(&what, "bound".to_owned()),
        (Err(error), _) => bad(&what, error.to_string(), &error.hint()),
    }
}

/// An agent that has somebody to serve it; what was said of another agent is not said again.
fn bound(what: &str, warnings: Vec<String>, said: &mut BTreeSet<String>) -> Check {
    if warnings.is_empty() {
        return good(what, "bound".to_owned());
    }
    let news: Vec<_> = warnings.into_iter().filter(|it| said.insert(it.clone())).collect();
    if news.is_empty() {
        return note(what, "bound, as said of another agent above".to_owned(), "");
    }
    note(what, news.join("; "), "")
}

fn command(environment: &Environment, name: &str) -> Check {
    match environment.find_command(name) {
        Some(path) => good(&format!("command {name}"), path.display().to_string()),
        None => note(&format!("command {name}"), "not on PATH".to_owned(), ""),
    }
}

fn registration(environment: &Environment, settings: &Settings) -> Check {
    let project = settings.workspaces.iter().map(|it| it.join(".mcp.json"));
    let user = environment.home().map(|it| it.join(".claude.json"));
    let is_registered =
        |it: &PathBuf| fs::read_to_string(it).is_ok_and(|text| text.contains("parallel-dispatch"));
    match project.chain(user).find(is_registered) {
        Some(path) => good("client registration", path.display().to_string()),
        None => note(
            "client registration",
            "no .mcp.json in a workspace, nor the user's Claude Code settings, name this server"
                .to_owned(),
            "claude mcp add parallel-dispatch -- parallel-dispatch serve",
        ),
    }
}

fn good(name: &str, found: String) -> Check {
    check(name, Verdict::Good, found, "")
}

fn note(name: &str, found: String, advice: &str) -> Check {
    check(name, Verdict::Note, found, advice)
}

fn bad(name: &str, found: String, advice: &str) -> Check {
    check(name, Verdict::Bad, found, advice)
}

fn check(name: &str, verdict: Verdict, found: String, advice: &str) -> Check {
    Check { name: name.to_owned(), verdict, found, advice: advice.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_on_several_agents_is_said_once() {
        let mut said = BTreeSet::new();
        let mut found = |warnings: &[&str]| {
            let warnings = warnings.iter().map(ToString::to_string).collect();
            bound("agent", warnings, &mut said).found
        };
        assert_eq!(found(&[]), "bound");
        assert_eq!(found(&["embedded"]), "embedded");
        assert_eq!(found(&["embedded"]), "bound, as said of another agent above");
        assert_eq!(found(&["embedded", "slow"]), "slow");
    }
}
