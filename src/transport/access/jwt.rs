//! The tokens of an authorization server: JWTs that are for this server, from that one, in time.
//!
//! The rules are those of RFC 7515, 7519 and 9068: one known way of signing, no extensions that
//! must be understood, and every claim that is checked is there and of its own type.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Caller, Denied,
    keys::{KeySource, Keys, KeysError},
    public_key::{Algorithm, decode},
};
use crate::model::{Identity, Sees, json};

/// By how many seconds the clocks of this machine and of the authorization server may differ.
const LEEWAY: f64 = 60.0;

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
        let token = Token::read(token).ok_or_else(|| {
            Denied::invalid("the token is not known, and is no JWT that can be read")
        })?;
        let algorithm = token.algorithm()?;
        let Some(key) = self.keys.find(token.key_id(), algorithm).await else {
            return Err(Denied::invalid("the token is signed by an unknown key"));
        };
        if !key.has_signed(algorithm, token.signed.as_bytes(), &token.signature) {
            return Err(Denied::invalid("the token's signature is wrong"));
        }
        // Whole seconds of this century are exact.
        #[expect(clippy::cast_precision_loss, reason = "seconds are far below 2^52")]
        let now = Timestamp::now().as_second() as f64;
        let identity = self.options.accept(&token.claims, now)?;
        let until = token.claims.get("exp").and_then(Value::as_f64).unwrap_or(now) + LEEWAY;
        Ok(Caller::until(identity, until))
    }
}

/// A token in its parts; none of them is to be believed before the signature was checked.
struct Token<'a> {
    header: Value,
    claims: Value,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    fn read(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let signature = decode(signature)?;
        Some(Self { header: object(header)?, claims: object(claims)?, signed, signature })
    }

    fn algorithm(&self) -> Result<Algorithm, Denied> {
        if self.header.get("crit").is_some() {
            return Err(Denied::invalid("the token has extensions (`crit`)"));
        }
        let named = self.header.get("alg").and_then(Value::as_str).and_then(Algorithm::named);
        named.ok_or_else(|| Denied::invalid("the token is signed in a way that is not taken"))
    }

    fn key_id(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }
}

impl OAuthOptions {
    /// Decides about the claims of a token that is signed as it should be.
    fn accept(&self, claims: &Value, now: f64) -> Result<Identity, Denied> {
        let number = |name: &str| claims.get(name).map(Value::as_f64);
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(Denied::invalid("the token is of another issuer"));
        }
        if !texts(claims.get("aud")).any(|it| it == self.audience) {
            return Err(Denied::invalid("the token is for another audience"));
        }
        match number("exp").flatten() {
            None => return Err(Denied::invalid("the token has no usable `exp`")),
            Some(until) if now >= until + LEEWAY => {
                return Err(Denied::invalid("the token has expired"));
            }
            Some(_) => {}
        }
        match number("nbf") {
            Some(None) => return Err(Denied::invalid("the token has no usable `nbf`")),
            Some(Some(from)) if now < from - LEEWAY => {
                return Err(Denied::invalid("the token is not valid yet"));
            }
            Some(Some(_)) | None => {}
        }
        self.name(claims)
    }

    fn name(&self, claims: &Value) -> Result<Identity, Denied> {
        let said = texts(claims.get("scope")).chain(texts(claims.get("scp")));
        let scopes: Vec<&str> = said.flat_map(|it| it.split(' ')).collect();
        let has = |wanted: &String| scopes.contains(&wanted.as_str());
        if !self.scopes.iter().all(has) {
            return Err(Denied::Scope);
        }
        let sees = if self.all_scope.as_ref().is_some_and(has) { Sees::All } else { self.sees };
        let subject = claims.get("sub").and_then(Value::as_str).filter(|it| !it.is_empty());
        // No token of the settings has such a name, and no issuer has a fragment.
        let name = subject.map(|it| format!("{}#{it}", self.issuer));
        name.and_then(|it| Identity::new(&it, sees))
            .ok_or_else(|| Denied::invalid("the token's `sub` cannot name anybody"))
    }
}

/// A JSON object in base64url, read strictly: no key is there twice.
fn object(part: &str) -> Option<Value> {
    let bytes = decode(part)?;
    let value = json::read(&bytes).ok()?.to_value();
    value.is_object().then_some(value)
}

/// One text, or several.
fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let several = value.and_then(Value::as_array).into_iter().flatten();
    value.into_iter().chain(several).filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: f64 = 1_000_000.0;

    fn accept(change: impl FnOnce(&mut Value)) -> Result<String, Denied> {
        let options = OAuthOptions {
            issuer: "https://login.example".to_owned(),
            audience: "pd".to_owned(),
            scopes: vec!["a".to_owned(), "b".to_owned()],
            all_scope: Some("all".to_owned()),
            ..OAuthOptions::default()
        };
        let mut claims = json!({ "iss": "https://login.example", "aud": "pd", "sub": "ada",
            "exp": NOW, "scope": "b a" });
        change(&mut claims);
        options.accept(&claims, NOW).map(|it| format!("{it} {:?}", it.sees()))
    }

    fn with(name: &str, value: Value) -> Result<String, Denied> {
        accept(|it| it[name] = value)
    }

    #[test]
    fn claims_of_the_right_kind_are_taken() {
        let ada = Ok("https://login.example#ada Own".to_owned());
        assert_eq!(accept(|_| {}), ada);
        assert_eq!(with("aud", json!(["x", "pd"])), ada);
        assert_eq!(with("exp", json!(NOW - 59.5)), ada);
        assert_eq!(with("nbf", json!(NOW + 60.0)), ada);
        let by_list = accept(|it| {
            *it = json!({ "iss": it["iss"], "aud": "pd", "sub": "ada",
            "exp": NOW, "scp": ["a", "b", "all"] });
        });
        assert_eq!(by_list, Ok("https://login.example#ada All".to_owned()));
    }

    #[test]
    fn claims_that_are_absent_wrong_or_of_another_type_are_not() {
        for (name, values) in [
            ("iss", json!([null, 5, "https://login.example/", ["https://login.example"]])),
            ("aud", json!([null, 5, "pd ", [], ["x"], {"pd": "pd"}])),
            ("exp", json!([null, "1000000000", NOW - 60.0, -1])),
            ("nbf", json!([null, "1", NOW + 61.0])),
            ("sub", json!([null, 5, "", "a\u{7}", "x".repeat(200)])),
        ] {
            for value in values.as_array().unwrap() {
                let denied = with(name, value.clone());
                assert!(matches!(denied, Err(Denied::Invalid(_))), "{name} {value}: {denied:?}");
            }
        }
        for scope in [json!(null), json!("a"), json!("ab"), json!("all"), json!(5)] {
            assert_eq!(with("scope", scope.clone()), Err(Denied::Scope), "{scope}");
        }
    }

    #[test]
    fn what_is_no_token_is_not_read() {
        for wrong in
            ["", ".", "..", "a.b.c", "e30.e30", "e30.e30.e30.e30", "W10.e30.AA", "e30=.e30.AA"]
        {
            assert!(Token::read(wrong).is_none(), "{wrong}");
        }
        assert!(Token::read("e30.e30.AA").is_some());
        assert!(Token::read("e30.e30.").is_some_and(|it| it.algorithm().is_err()));
        // {"alg":"ES256","alg":"none"}
        assert!(Token::read("eyJhbGciOiJFUzI1NiIsImFsZyI6Im5vbmUifQ.e30.AA").is_none());
    }
}
