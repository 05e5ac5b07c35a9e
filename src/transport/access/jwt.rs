//! The tokens of an authorization server: JWTs that are for this server, from that one, in time.
//!
//! jsonwebtoken reads and checks them by the rules of RFC 7515, 7519 and 9068; ring checks their
//! signatures. What is decided on is there once, and of its own type.

use jsonwebtoken::{
    Validation, decode, decode_header,
    errors::{Error, ErrorKind},
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Caller, Denied,
    keys::{KeySource, Keys, KeysError},
    signatures,
};
use crate::model::{Identity, Sees};

/// By how many seconds the clocks of this machine and of the authorization server may differ.
const LEEWAY: u32 = 60;

/// What this server knows about the authorization server.
#[derive(Clone, Debug)]
pub struct OAuthOptions {
    /// The `iss` of its tokens, exactly.
    pub issuer: String,
    /// What must be among the `aud` of a token.
    pub audience: String,
    /// The address at which clients reach this server, which they are told in the metadata.
    pub resource: String,
    /// Where clients get tokens.
    pub authorization_servers: Vec<String>,
    /// The scopes that every token must have.
    pub scopes: Vec<String>,
    /// The scope that lets a caller see everything.
    pub all_scope: Option<String>,
    /// What callers without that scope see.
    pub sees: Sees,
}

/// A resource server in the sense of OAuth: checks tokens, and gives out none.
#[derive(Debug)]
pub struct OAuth {
    options: OAuthOptions,
    keys: Keys,
}

impl Default for OAuthOptions {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            resource: String::new(),
            authorization_servers: Vec::new(),
            scopes: Vec::new(),
            all_scope: None,
            sees: Sees::Own,
        }
    }
}

impl OAuth {
    /// Checks tokens by the keys of `source`, which is read when the first token comes.
    pub fn new(options: OAuthOptions, source: KeySource) -> Result<Self, KeysError> {
        signatures::install();
        Ok(Self { options, keys: Keys::new(source)? })
    }

    /// Reads the keys; answers how many of them can be used.
    pub async fn look(&self) -> Result<usize, KeysError> {
        self.keys.look().await
    }

    pub(super) fn options(&self) -> &OAuthOptions {
        &self.options
    }

    /// Finds out who calls.
    pub(super) async fn identify(&self, token: &str) -> Result<Caller, Denied> {
        let header = decode_header(token).ok().filter(|it| signatures::is_taken(it.alg));
        let header = header.ok_or_else(|| {
            Denied::invalid("the token is not known, and is no JWT signed in a way that is taken")
        })?;
        if header.crit.is_some() {
            return Err(Denied::invalid("the token has extensions (`crit`)"));
        }
        let Some(key) = self.keys.find(header.kid.as_deref(), header.alg).await else {
            let unknown = || Denied::invalid("the token is signed by an unknown key");
            return Err(if self.keys.is_failing() { Denied::Unready } else { unknown() });
        };
        let mut validation = self.options.validation();
        validation.algorithms = key.algorithms;
        let token = decode(token, &key.public, &validation).map_err(|it| invalid(&it))?;
        let identity = self.options.name(&token.claims)?;
        Ok(Caller::until(identity, token.claims.exp + f64::from(LEEWAY)))
    }
}

/// The claims that say who calls, what for and until when.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: Option<String>,
    exp: f64,
    scope: Option<Value>,
    scp: Option<Value>,
}

impl OAuthOptions {
    fn validation(&self) -> Validation {
        let mut validation = Validation {
            leeway: LEEWAY.into(),
            // At its `exp` a token has ended (RFC 7519, section 4.1.4), not a second later.
            reject_tokens_expiring_in_less_than: 1,
            validate_nbf: true,
            ..Validation::default()
        };
        validation.set_required_spec_claims(&["iss", "aud", "exp"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation
    }

    fn name(&self, claims: &Claims) -> Result<Identity, Denied> {
        let said = texts(claims.scope.as_ref()).chain(texts(claims.scp.as_ref()));
        let scopes: Vec<&str> = said.flat_map(|it| it.split(' ')).collect();
        let has = |wanted: &String| scopes.contains(&wanted.as_str());
        if !self.scopes.iter().all(has) {
            return Err(Denied::Scope);
        }
        let sees = if self.all_scope.as_ref().is_some_and(has) { Sees::All } else { self.sees };
        let subject = claims.sub.as_ref().filter(|it| !it.is_empty());
        // No token of the settings has such a name, and no issuer has a fragment.
        let name = subject.map(|it| format!("{}#{it}", claims.iss));
        name.and_then(|it| Identity::new(&it, sees))
            .ok_or_else(|| Denied::invalid("the token's `sub` cannot name anybody"))
    }
}

/// Why a token does not count, for its owner.
fn invalid(error: &Error) -> Denied {
    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else befalls a token with a key")]
    Denied::invalid(match error.kind() {
        ErrorKind::InvalidSignature => "the token's signature is wrong",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::MissingRequiredClaim(name) | ErrorKind::InvalidClaimFormat(name) => {
            return Denied::Invalid(format!("the token has no usable `{name}`"));
        }
        _ => "the token's claims cannot be read",
    })
}

/// One text, or several.
fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let several = value.and_then(Value::as_array).into_iter().flatten();
    value.into_iter().chain(several).filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use jsonwebtoken::get_current_timestamp;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://login.example";

    /// Whom a token names that has these claims, and is signed as it should be.
    async fn identify(header: &str, claims: &str) -> Result<String, Denied> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let x = text(pair.public_key().as_ref());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jwks.json");
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
        std::fs::write(&path, json!({ "keys": [jwk] }).to_string()).unwrap();
        let options = OAuthOptions {
            issuer: ISSUER.to_owned(),
            audience: "pd".to_owned(),
            scopes: vec!["a".to_owned(), "b".to_owned()],
            all_scope: Some("all".to_owned()),
            ..OAuthOptions::default()
        };
        let signed = format!("{}.{}", text(header.as_bytes()), text(claims.as_bytes()));
        let token = format!("{signed}.{}", text(pair.sign(signed.as_bytes()).as_ref()));
        let named = OAuth::new(options, KeySource::File(path)).unwrap().identify(&token).await;
        named.map(|it| format!("{} {:?}", it.identity, it.identity.sees()))
    }

    async fn with(name: &str, value: Value) -> Result<String, Denied> {
        let mut claims = json!({ "iss": ISSUER, "aud": "pd", "sub": "ada",
            "exp": get_current_timestamp(), "scope": "b a" });
        claims[name] = value;
        identify(r#"{"alg":"EdDSA"}"#, &claims.to_string()).await
    }

    fn now() -> f64 {
        jiff::Timestamp::now().as_duration().as_secs_f64()
    }

    #[tokio::test]
    async fn claims_of_the_right_kind_are_taken() {
        let ada = Ok("https://login.example#ada Own".to_owned());
        assert_eq!(with("aud", json!("pd")).await, ada);
        assert_eq!(with("aud", json!(["x", "pd"])).await, ada);
        assert_eq!(with("exp", json!(now() - 30.5)).await, ada);
        assert_eq!(with("nbf", json!(now() + 30.5)).await, ada);
        let all = Ok("https://login.example#ada All".to_owned());
        assert_eq!(with("scp", json!(["a", "all"])).await, all);
    }

    #[tokio::test]
    async fn claims_that_are_absent_wrong_or_of_another_type_are_not() {
        for (name, values) in [
            ("iss", json!([null, 5, "https://login.example/", ["https://login.example"]])),
            ("aud", json!([null, 5, "pd ", [], ["x"], ["pd", 5], {"pd": "pd"}])),
            ("exp", json!([null, "9999999999", now() - 90.0, -1, [], {}])),
            ("nbf", json!([null, "1", now() + 90.0, []])),
            ("sub", json!([null, 5, "", "a\u{7}", "x".repeat(200)])),
        ] {
            for value in values.as_array().unwrap() {
                let denied = with(name, value.clone()).await;
                assert!(matches!(denied, Err(Denied::Invalid(_))), "{name} {value}: {denied:?}");
            }
        }
        for scope in [json!(null), json!("a"), json!("ab"), json!("all"), json!(5)] {
            assert_eq!(with("scope", scope.clone()).await, Err(Denied::Scope), "{scope}");
        }
    }

    #[tokio::test]
    async fn a_token_ends_at_its_end_and_the_leeway() {
        let ended = with("exp", json!(get_current_timestamp() - u64::from(LEEWAY))).await;
        assert_eq!(ended, Err(Denied::invalid("the token has expired")));
    }

    #[tokio::test]
    async fn what_a_token_says_twice_is_not_taken() {
        let header = r#"{"alg":"EdDSA"}"#;
        let claims = r#""iss":"https://login.example","aud":"pd","sub":"ada","exp":9999999999"#;
        let claims = format!("{claims},\"scope\":\"a b\"");
        assert!(identify(header, &format!("{{{claims}}}")).await.is_ok());
        for twice in [
            r#""iss":"https://login.example""#,
            r#""aud":"pd""#,
            r#""sub":"bob""#,
            r#""exp":9999999998"#,
            r#""nbf":1,"nbf":1"#,
            r#""scope":"all a b""#,
        ] {
            let denied = identify(header, &format!("{{{claims},{twice}}}")).await;
            assert!(matches!(denied, Err(Denied::Invalid(_))), "{twice}: {denied:?}");
        }
        for header in [r#"{"alg":"EdDSA","alg":"EdDSA"}"#, r#"{"alg":"EdDSA","crit":["x"]}"#] {
            assert!(identify(header, &format!("{{{claims}}}")).await.is_err(), "{header}");
        }
    }

    #[tokio::test]
    async fn what_is_no_token_is_not_read() {
        let options = OAuthOptions::default();
        let oauth = OAuth::new(options, KeySource::File("/nowhere/at/all".into())).unwrap();
        for wrong in [
            "",
            ".",
            "..",
            "a.b.c",
            "e30.e30",
            "e30.e30.e30.e30",
            "W10.e30.AA",
            "e30=.e30.AA",
            "e30.e30.",
            "e30.e30.AA",
            // {"alg":"none"} and {"alg":"HS256"}
            "eyJhbGciOiJub25lIn0.e30.",
            "eyJhbGciOiJIUzI1NiJ9.e30.AA",
        ] {
            let denied = oauth.identify(wrong).await.unwrap_err();
            assert!(denied.message().contains("is no JWT"), "{wrong}: {denied:?}");
        }
    }
}
