//! Who may call over HTTP: bearer tokens of the settings, an authorization server's, or anybody.
//!
//! Promises: a token is read from the `Authorization` header alone, is compared in a time that does
//! not depend on it, and goes nowhere: no handler, log or answer has it.

mod denied;
mod jwt;
mod keys;
mod metadata;
mod signatures;
mod term;
mod tokens;

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderMap, header};
use tokio::{sync::watch, time::Instant};

use self::term::Listed;
pub(super) use self::{denied::Denied, metadata::Metadata, term::Term};
pub use self::{
    jwt::{OAuth, OAuthOptions},
    keys::{KeySource, KeysError},
    tokens::{BearerTokens, TokenError},
};
use crate::model::Identity;

/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The longest time for which a token is taken at all: beyond it nobody counts.
const VALID_MAX: Duration = Duration::from_hours(24 * 365);

/// Somebody whom the authorization server knows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Caller {
    identity: Identity,
    /// How long the token is still taken.
    valid_for: Duration,
}

/// Who may call. The default lets anybody in.
#[derive(Clone, Debug, Default)]
pub struct Access {
    tokens: Arc<watch::Sender<Arc<BearerTokens>>>,
    oauth: Option<Arc<OAuth>>,
    is_restricted: bool,
}

impl Access {
    /// Lets in who shows one of `tokens`, or a token of the authorization server; anybody if there
    /// are neither.
    pub fn new(tokens: BearerTokens, oauth: Option<OAuth>) -> Self {
        let is_restricted = !tokens.is_empty() || oauth.is_some();
        let tokens = Arc::new(watch::Sender::new(Arc::new(tokens)));
        Self { tokens, oauth: oauth.map(Arc::new), is_restricted }
    }

    /// Makes others of the tokens that are taken, from the next request on, and ends the streams of
    /// the tokens that are taken no more; answers whether they are others. Without any, nobody is
    /// let in by one.
    pub fn renew(&self, renew: impl FnOnce(&BearerTokens) -> BearerTokens) -> bool {
        let before = Arc::clone(&self.tokens.borrow());
        let renewed = renew(&before);
        let is_new = *before != renewed;
        if is_new {
            self.tokens.send_replace(Arc::new(renewed));
        }
        is_new
    }

    /// Whether callers must show who they are.
    pub fn is_restricted(&self) -> bool {
        self.is_restricted
    }

    /// What clients are told about the authorization server, if there is one.
    pub(super) fn metadata(&self) -> Option<Metadata> {
        self.oauth.as_ref().map(|it| Metadata::of(it.options()))
    }

    /// Finds out who calls, and for how long.
    pub(super) async fn identify(&self, headers: &HeaderMap) -> Result<(Identity, Term), Denied> {
        let token = read(headers)?;
        let known = self.tokens.borrow().find(token);
        if let Some((token, identity)) = known {
            let tokens = self.tokens.subscribe();
            let listed = Listed { token, identity: identity.clone(), tokens };
            return Ok((identity, Term::Listed(listed)));
        }
        let Some(oauth) = &self.oauth else {
            return Err(Denied::invalid("the token is not known"));
        };
        let Caller { identity, valid_for } = oauth.identify(token).await?;
        Ok((identity, Term::At(Instant::now() + valid_for)))
    }

    /// What a refused caller is told in `WWW-Authenticate`.
    pub(super) fn challenge(&self, denied: &Denied) -> String {
        denied.challenge(self.oauth.as_ref().map(|it| it.options()))
    }
}

impl Caller {
    /// One whose token is taken until a time, in seconds since 1970.
    fn until(identity: Identity, until: f64) -> Self {
        // Whole seconds of this century are exact.
        #[expect(clippy::cast_precision_loss, reason = "seconds are far below 2^52")]
        let now = jiff::Timestamp::now().as_second() as f64;
        let valid_for = Duration::from_secs_f64((until - now).clamp(0.0, VALID_MAX.as_secs_f64()));
        Self { identity, valid_for }
    }
}

fn read(headers: &HeaderMap) -> Result<&str, Denied> {
    let mut said = headers.get_all(header::AUTHORIZATION).iter();
    let said = match (said.next(), said.next()) {
        (None, _) => return Err(Denied::Missing),
        (Some(_), Some(_)) => return Err(Denied::Malformed("there are two Authorization headers")),
        (Some(said), None) => said,
    };
    let is_bearer = |scheme: &str| scheme.eq_ignore_ascii_case("bearer");
    let Some((scheme, token)) = said.to_str().ok().and_then(|it| it.split_once(' ')) else {
        return Err(Denied::Malformed("the Authorization header is malformed"));
    };
    if !is_bearer(scheme) {
        return Err(Denied::Missing);
    }
    match token.trim() {
        "" => Err(Denied::Malformed("the Authorization header is malformed")),
        long if long.len() > TOKEN_BYTES_MAX => {
            Err(Denied::Invalid(format!("the token is longer than {TOKEN_BYTES_MAX} bytes")))
        }
        token => Ok(token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sees;

    #[test]
    fn a_token_is_taken_until_its_end_and_none_for_ever() {
        let now = jiff::Timestamp::now().as_second();
        let valid_for = |until: f64| {
            let caller = Caller::until(Identity::new("ada", Sees::Own).unwrap(), until);
            caller.valid_for.as_secs()
        };
        #[expect(clippy::cast_precision_loss, reason = "seconds are far below 2^52")]
        let soon = valid_for((now + 100) as f64);
        assert!((90..=100).contains(&soon), "{soon}");
        assert_eq!((valid_for(0.0), valid_for(1e300)), (0, VALID_MAX.as_secs()));
    }

    fn read_all(said: &[&str]) -> Result<String, Denied> {
        let mut headers = HeaderMap::new();
        for it in said {
            headers.append(header::AUTHORIZATION, it.parse().unwrap());
        }
        read(&headers).map(str::to_owned)
    }

    #[test]
    fn one_bearer_token_is_read_and_nothing_else() {
        assert_eq!(read_all(&["Bearer abc"]).unwrap(), "abc");
        assert_eq!(read_all(&["bEARER   a.b-c "]).unwrap(), "a.b-c");
        assert!(matches!(read_all(&[]), Err(Denied::Missing)));
        assert!(matches!(read_all(&["Basic abc"]), Err(Denied::Missing)));
        for wrong in [vec!["Bearer"], vec!["Bearer  "], vec!["Bearer a", "Bearer a"], vec![""]] {
            assert!(matches!(read_all(&wrong), Err(Denied::Malformed(_))), "{wrong:?}");
        }
        let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1));
        assert!(matches!(read_all(&[&long]), Err(Denied::Invalid(_))));
    }

    #[test]
    fn neither_tokens_nor_identities_are_shown() {
        let mut tokens = BearerTokens::default();
        tokens.add("s3cret-s3cret-s3cret", Identity::new("ada", Sees::Own).unwrap()).unwrap();
        let access = Access::new(tokens, None);
        assert!(access.is_restricted() && !Access::default().is_restricted());
        assert!(!format!("{access:?}").contains("s3cret"));
    }
}
