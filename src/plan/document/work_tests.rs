//! Snapshots of what the tools for workers take and refuse.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{testing::show_faults, work::*};
use crate::model::{
    AgentName, ClaimRequest, CompleteRequest, FailRequest, HeartbeatRequest, Refusal, json::Json,
};

const LEASE: &str = "01890a5d-ac96-474b-bcce-b302099a8057";

#[track_caller]
fn check<T: serde::Serialize>(
    read: impl Fn(&Json<'_>) -> Result<T, Refusal>,
    args: &Value,
    expected: &Expect,
) {
    let read = read(&Json::from_value(args).unwrap());
    let shown = match read {
        Ok(request) => serde_json::to_string(&request).unwrap(),
        Err(refusal) => show_faults(&refusal),
    };
    expected.assert_eq(&shown);
}

fn claim(args: &Json<'_>) -> Result<ClaimRequest, Refusal> {
    check_claim(args, &["coder", "reviewer"].map(AgentName::new))
}

#[test]
fn a_claim_names_a_worker_and_may_name_agents() {
    check(claim, &json!({"worker": "w"}), &expect![[r#"{"worker":"w"}"#]]);
    let aliased = json!({"worker": "w", "agents": ["agent_coder", "reviewer"], "wait_ms": 0});
    check(
        claim,
        &aliased,
        &expect![[r#"{"worker":"w","agents":["coder","reviewer"],"wait_ms":0}"#]],
    );
    let wrong = json!({"worker": " ", "agents": ["revewer", 1], "wait_ms": 60_001, "x": 1});
    check(
        claim,
        &wrong,
        &expect![[r#"
        unknown_field at /x: the document has no field "x"
          hint: claim_task takes worker, agents, wait_ms
        empty_value at /worker: "worker" must not be empty
          hint: say what is meant
        unknown_agent at /agents/0: item 1 of "agents" names no agent whose workers pull: "revewer"; did you mean "reviewer"?
          hint: workers pull tasks of "coder" or "reviewer"
        invalid_type at /agents/1: item 2 of "agents" must be a string, not a number
          hint: pass a string
        out_of_range at /wait_ms: "wait_ms" must be from 0 to 60000, not 60001
          hint: pass a number from 0 to 60000"#]],
    );
    check(
        claim,
        &json!({"agents": []}),
        &expect![[r#"
        missing_field at /worker: "worker" is missing
          hint: say what the worker is called
        empty_value at /agents: "agents" must name at least one agent
          hint: leave it out to mean all"#]],
    );
    check(
        claim,
        &json!([]),
        &expect![[r"
        invalid_type at : the document must be an object, not a list
          hint: pass an object"]],
    );
}

#[test]
fn a_heartbeat_names_a_lease() {
    check(
        check_heartbeat,
        &json!({"lease": LEASE}),
        &expect![[r#"{"lease":"01890a5d-ac96-474b-bcce-b302099a8057"}"#]],
    );
    check(
        check_heartbeat,
        &json!({"lease": "l1"}),
        &expect![[r#"
        lease_lost at /lease: "lease" must be a UUID, not "l1"
          hint: claim_task answers the lease of the task that it gives"#]],
    );
    check(
        check_heartbeat,
        &json!({}),
        &expect![[r#"
        missing_field at /lease: "lease" is missing
          hint: claim_task answers the lease of the task that it gives"#]],
    );
}

#[test]
fn an_output_is_anything_but_nothing() {
    let output = json!({"lease": LEASE, "output": {"usage": {"total_tokens": 3}}});
    check(
        check_complete,
        &output,
        &expect![[
            r#"{"lease":"01890a5d-ac96-474b-bcce-b302099a8057","output":{"usage":{"total_tokens":3}}}"#
        ]],
    );
    check(
        check_complete,
        &json!({"lease": LEASE, "output": false}),
        &expect![[r#"{"lease":"01890a5d-ac96-474b-bcce-b302099a8057","output":false}"#]],
    );
    check(
        check_complete,
        &json!({"lease": LEASE, "output": null}),
        &expect![[r#"
        missing_field at /output: "output" must not be null
          hint: say what came out, such as {"summary": "…"}"#]],
    );
    check(
        check_complete,
        &json!({"output": 1, "result": 1}),
        &expect![[r#"
        unknown_field at /result: the document has no field "result"
          hint: complete_task takes lease, output
        missing_field at /lease: "lease" is missing
          hint: claim_task answers the lease of the task that it gives"#]],
    );
}

#[test]
fn a_failure_says_why_and_may_say_of_what_kind() {
    check(
        check_fail,
        &json!({"lease": LEASE, "message": "no tests"}),
        &expect![[r#"{"lease":"01890a5d-ac96-474b-bcce-b302099a8057","message":"no tests"}"#]],
    );
    for code in FailRequest::CODES {
        let args = json!({"lease": LEASE, "message": "m", "code": code});
        let read = check_fail(&Json::from_value(&args).unwrap()).unwrap();
        assert_eq!(read.code, Some(code));
    }
    let wrong = json!({"lease": LEASE, "message": "", "code": "cancelled"});
    check(
        check_fail,
        &wrong,
        &expect![[r#"
        empty_value at /message: "message" must not be empty
          hint: say what is meant
        invalid_enum at /code: "code" must be "agent_error", "timeout", "upstream_unavailable", "rate_limited", "output_invalid", "check_failed", "interrupted" or "context_unavailable", not "cancelled"
          hint: choose "agent_error", "timeout", "upstream_unavailable", "rate_limited", "output_invalid", "check_failed", "interrupted" or "context_unavailable""#]],
    );
}

#[test]
fn schemas_and_reader_agree() {
    super::call_tests::check_fields::<ClaimRequest, _>(&CLAIM);
    super::call_tests::check_fields::<HeartbeatRequest, _>(&HEARTBEAT);
    super::call_tests::check_fields::<CompleteRequest, _>(&COMPLETE);
    super::call_tests::check_fields::<FailRequest, _>(&FAIL);
}
