//! Who calls, as the transport found out by a token; what they may see follows from it.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// A caller that showed who they are. Without one, as on stdio and from the shell, everything is
/// seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    name: Arc<str>,
    sees: Sees,
}

/// Which dispatches and plans a caller sees, and may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sees {
    /// Those that they asked for themselves, and what agents dispatched below these.
    Own,
    /// All of them.
    All,
}

impl Identity {
    /// The longest name, in bytes.
    pub const NAME_BYTES_MAX: usize = 200;

    /// A caller by name: of a token, as the settings call it, or the subject of a JWT. `None` for a
    /// name that is empty, too long, or holds what cannot be shown as it is.
    pub fn new(name: &str, sees: Sees) -> Option<Self> {
        let is_fine = !name.is_empty()
            && name.len() <= Self::NAME_BYTES_MAX
            && super::text::escape(name) == name;
        is_fine.then(|| Self { name: name.into(), sees })
    }

    /// Their name, under which dispatches are kept.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What they see.
    pub fn sees(&self) -> Sees {
        self.sees
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_be_shown_as_it_is() {
        for name in ["", "a\nb", "\u{202e}a", &"x".repeat(201)] {
            assert_eq!(Identity::new(name, Sees::Own), None, "{name:?}");
        }
        let identity = Identity::new("https://issuer.example/ada", Sees::All).unwrap();
        assert_eq!((identity.to_string().as_str(), identity.sees()), (identity.name(), Sees::All));
    }
}
