//! Who may call over HTTP, and what half says it.

use expect_test::expect;

use super::*;
use crate::model::Sees;

#[test]
fn callers_have_tokens_and_see_their_own() {
    let machine = Machine::new(&[(
        USER,
        "server:
  allowed_hosts: [PD.example, '::1', 10.0.0.5]
  tokens:
    ada: {bearer: '${env:ADA}', sees: all}
    bob: {bearer: s3cret}
  oauth: {issuer: 'https://login.example/', audience: 'https://pd.example/mcp', jwks: keys.json}
  tls: {certificate: ~/tls.crt, key: /etc/tls.key}
",
    )]);
    machine.check(&expect![[r#"
        server.allowed_hosts = ["pd.example","[::1]","10.0.0.5"]  (@/home/.config/parallel-dispatch/config.yaml:2)
        server.oauth.audience = https://pd.example/mcp  (@/home/.config/parallel-dispatch/config.yaml:6)
        server.oauth.issuer = https://login.example/  (@/home/.config/parallel-dispatch/config.yaml:6)
        server.oauth.jwks = @/project/keys.json  (@/home/.config/parallel-dispatch/config.yaml:6)
        server.tls.certificate = @/home/tls.crt  (@/home/.config/parallel-dispatch/config.yaml:7)
        server.tls.key = /etc/tls.key  (@/home/.config/parallel-dispatch/config.yaml:7)
        server.tokens.ada.bearer = ${env:ADA}  (@/home/.config/parallel-dispatch/config.yaml:4)
        server.tokens.ada.sees = all  (@/home/.config/parallel-dispatch/config.yaml:4)
        server.tokens.bob.bearer = (hidden)  (@/home/.config/parallel-dispatch/config.yaml:5)"#]]);
    let server = machine.load().unwrap().settings.server;
    assert_eq!((server.tokens["ada"].sees, server.tokens["bob"].sees), (Sees::All, Sees::Own));
    let oauth = server.oauth.unwrap();
    assert_eq!(oauth.authorization_servers, ["https://login.example/"]);
    assert_eq!((oauth.resource.as_str(), oauth.sees), ("https://pd.example/mcp", Sees::Own));
}

#[test]
fn what_says_only_half_or_trusts_the_way_is_refused() {
    check_user(
        "server:
  allowed_hosts: ['pd.example:80', 'a b']
  tokens: {ada: {sees: some}, '../x': {bearer: y}}
  tls: {key: /k}
  oauth: {issuer: 'http://login.example', audience: pd, jwks: 'http://login.example/k', scopes: ['a b']}
",
        &expect![[r#"
            @/home/.config/parallel-dispatch/config.yaml:2: server.allowed_hosts: must hold hosts such as pd.example or 10.0.0.5, without a port, holds "pd.example:80"
            @/home/.config/parallel-dispatch/config.yaml:3: server.tokens.ada.sees: must be one of own, all, is "some"
            @/home/.config/parallel-dispatch/config.yaml:3: server.tokens.../x: a name is 1 to 64 letters, digits, `_` and `-`
            @/home/.config/parallel-dispatch/config.yaml:5: server.oauth.issuer: must begin with https://, since it is not on this machine
            @/home/.config/parallel-dispatch/config.yaml:5: server.oauth.jwks: must begin with https://, since it is not on this machine
            @/home/.config/parallel-dispatch/config.yaml:5: server.oauth.scopes: must be made of scopes without spaces and quotes, holds "a b"
            @/home/.config/parallel-dispatch/config.yaml:4: server.tls.certificate: is missing: TLS needs one
            @/home/.config/parallel-dispatch/config.yaml:5: server.oauth.issuer: is missing: tokens are taken of one issuer only
            @/home/.config/parallel-dispatch/config.yaml:5: server.oauth.jwks: is missing: tokens are checked by the issuer's keys
            @/home/.config/parallel-dispatch/config.yaml:5: server.oauth.resource: is missing: the audience is no address at which clients reach this server"#]],
    );
    check_user(
        "server: {tokens: {ada: {}}, oauth: {}}",
        &expect![[r"
            @/home/.config/parallel-dispatch/config.yaml:1: server.tokens.ada.bearer: is missing: a caller needs a token
            @/home/.config/parallel-dispatch/config.yaml:1: server.oauth.issuer: is missing: tokens are taken of one issuer only
            @/home/.config/parallel-dispatch/config.yaml:1: server.oauth.audience: is missing: tokens must be for this server
            @/home/.config/parallel-dispatch/config.yaml:1: server.oauth.jwks: is missing: tokens are checked by the issuer's keys"]],
    );
}

#[test]
fn a_workspace_says_nothing_about_callers() {
    for text in
        ["tokens: {}", "tls: {}", "oauth: {}", "tokens: {a: {bearer: b}}", "allowed_hosts: []"]
    {
        let machine = Machine::new(&[(WORKSPACE, &format!("server: {{{text}}}"))]);
        let faults = machine.load().unwrap_err().to_string();
        assert!(faults.contains("a workspace's file may not set it"), "{text}: {faults}");
    }
}
