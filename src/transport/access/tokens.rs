//! The bearer tokens of the settings: kept as digests, compared in constant time.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use thiserror::Error;

use crate::model::Identity;

/// Bearer tokens, each of somebody.
#[derive(Default, PartialEq, Eq)]
pub struct BearerTokens(Vec<(Digest, Identity)>);

/// Why a token cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Nothing, or more than is ever read.
    #[error("must have 1 to {max} characters, has {0}", max = super::TOKEN_BYTES_MAX)]
    Length(usize),
    /// No client could send it.
    #[error("must have letters, digits and punctuation only, without spaces")]
    Characters,
    /// It would not say who calls.
    #[error("is the token of {0}, too")]
    Twice(Identity),
}

/// What is kept of a token.
pub(super) type Digest = [u8; 32];

impl BearerTokens {
    /// Adds the token of somebody.
    pub fn add(&mut self, token: &str, identity: Identity) -> Result<(), TokenError> {
        if token.is_empty() || token.len() > super::TOKEN_BYTES_MAX {
            return Err(TokenError::Length(token.len()));
        }
        if !token.bytes().all(|it| it.is_ascii_graphic()) {
            return Err(TokenError::Characters);
        }
        if let Some((_, other)) = self.find(token) {
            return Err(TokenError::Twice(other));
        }
        self.0.push((digest(token), identity));
        Ok(())
    }

    /// Adds the tokens that somebody had `before`, for want of a newer one; that keeps each of them
    /// theirs, whoever claims it now.
    pub fn keep(&mut self, before: &Self, identity: &Identity) {
        self.0.extend(before.0.iter().filter(|it| it.1 == *identity).cloned());
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a token that was found is still the same caller's.
    pub(super) fn has(&self, token: &Digest, identity: &Identity) -> bool {
        self.0.iter().any(|it| it.0 == *token && it.1 == *identity)
    }

    /// What is kept of a token, and whose it is; of two who have it, the last. Every one is
    /// compared, whatever the first ones say.
    pub(super) fn find(&self, token: &str) -> Option<(Digest, Identity)> {
        let shown = digest(token);
        let (mut at, mut is_found) = (0_u64, Choice::from(0));
        for (idx, (known, _)) in (0..).zip(&self.0) {
            let is_it = known.ct_eq(&shown);
            at.conditional_assign(&idx, is_it);
            is_found |= is_it;
        }
        let found = usize::try_from(at).ok().filter(|_| is_found.into())?;
        self.0.get(found).cloned()
    }
}

impl fmt::Debug for BearerTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|it| &it.1)).finish()
    }
}

fn digest(token: &str) -> Digest {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sees;

    fn of(name: &str) -> Identity {
        Identity::new(name, Sees::Own).unwrap()
    }

    fn owner(tokens: &BearerTokens, token: &str) -> Option<Identity> {
        tokens.find(token).map(|it| it.1)
    }

    #[test]
    fn each_token_is_found_by_its_whole_text() {
        let mut tokens = BearerTokens::default();
        for name in ["ada", "bob", "eve"] {
            tokens.add(&format!("token-of-{name}"), of(name)).unwrap();
        }
        for name in ["ada", "bob", "eve"] {
            assert_eq!(owner(&tokens, &format!("token-of-{name}")), Some(of(name)));
        }
        for wrong in ["", "token-of-ad", "token-of-adaa", "Token-of-ada", "ada"] {
            assert_eq!(owner(&tokens, wrong), None, "{wrong}");
        }
        assert_eq!(owner(&BearerTokens::default(), "token-of-ada"), None);
    }

    #[test]
    fn who_keeps_a_token_has_it_alone() {
        let (mut before, mut now) = (BearerTokens::default(), BearerTokens::default());
        before.add("of-ada", of("ada")).unwrap();
        before.add("of-bob", of("bob")).unwrap();
        now.add("of-bob", of("ada")).unwrap();
        assert_eq!(now.add("of-bob", of("bob")), Err(TokenError::Twice(of("ada"))));
        now.keep(&before, &of("bob"));
        assert_eq!((owner(&now, "of-bob"), owner(&now, "of-ada")), (Some(of("bob")), None));
    }

    #[test]
    fn what_cannot_be_sent_or_tells_nobody_apart_is_refused() {
        let mut tokens = BearerTokens::default();
        tokens.add("one", of("ada")).unwrap();
        assert_eq!(tokens.add("one", of("bob")), Err(TokenError::Twice(of("ada"))));
        assert_eq!(tokens.add("", of("bob")), Err(TokenError::Length(0)));
        for wrong in ["a b", "a\n", "ä"] {
            assert_eq!(tokens.add(wrong, of("bob")), Err(TokenError::Characters), "{wrong:?}");
        }
    }
}
