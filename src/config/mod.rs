//! The settings in force: layers of files, environment and flags, each value with its origin.
//!
//! [`Settings::load`] reads the layers, weakest first: built in, the system's file, the user's
//! file, the workspace's file, a file named by `--config`, the environment, flags. It answers the
//! typed settings together with the layer of each value, or every fault of every layer at once.
//!
//! A workspace's file came with a repository that somebody cloned, so it is a stranger's: it may
//! tune a dispatch and lower limits, but name no address, no tool, and no place outside itself.
//!
//! Only this room reads the environment: once, in [`Environment::capture`], and what the owner's
//! settings refer to by name, when it is needed ([`SecretText`]).

mod check;
mod command;
mod derive;
mod environment;
mod error;
mod file;
mod keys;
mod layer;
mod list;
mod load;
mod network;
mod place;
mod server;
mod settings;
mod supply;
mod telemetry;
mod upstream;
mod worker;
mod yaml;

#[cfg(test)]
mod tests;

pub use command::{CommandOutput, CommandProgram, CommandPrompt, CommandSettings};
pub use environment::{Environment, Flags, Role};
pub use error::{ConfigError, ConfigErrors, Source};
pub use load::{Explained, Loaded};
pub use server::{OAuthSettings, Server, TlsSettings, TokenSettings};
pub use settings::{
    AgentSettings, ArchonSetting, CheckSettings, Dispatcher, ExpectSettings, Level, Limits,
    LogFormat, Logging, Mcp, Settings,
};
pub use supply::{SecretText, SupplyError, child_environment, read_private};
pub use telemetry::{Otlp, OtlpProtocol, Telemetry};
pub use upstream::{Protocol, Transport, Upstream};
pub use worker::Worker;
